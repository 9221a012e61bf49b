/** Records of an app as JSON Lines, from and to files and streams: never held as a whole. */
import { once } from "node:events";
import { createReadStream, createWriteStream, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { resolve } from "node:path";
import { Readable } from "node:stream";
import type { PicContext } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { PicFailure, usageFailure } from "./failures.ts";
import { unreadable } from "./source-file.ts";

/** Writes what an export answers to a file, or to standard output. Throws PicFailure. */
export async function saveLines(
  pic: PicContext,
  response: Response,
  { to, force }: { to: string; force: boolean },
): Promise<void> {
  const body = response.body ?? new Blob([]).stream();
  try {
    if (to === "-") await toOutput(pic, body);
    else await toFile(resolve(pic.around.workingDir, to), to, body, force);
  } catch (error) {
    if (error instanceof PicFailure) throw error;
    throw new PicFailure("The export was cut off: what came is not all of it", {
      exit: EXIT.unreachable,
      next: "try again",
      cause: error,
    });
  }
}

/** The lines of a file, or of standard input. Throws PicFailure when there is nothing to read. */
export function openLines(pic: PicContext, from: string | undefined): ReadableStream<Uint8Array> {
  const { stdin, workingDir } = pic.around;
  if (from === undefined || from === "-") {
    if (from === undefined && stdin.isTTY === true) {
      throw usageFailure("What shall be imported?", "name a file, or pipe it in");
    }
    return fromChunks(stdin);
  }
  const path = resolve(workingDir, from);
  try {
    if (statSync(path).isDirectory()) throw usageFailure(`${from} is a folder`);
  } catch (error) {
    throw error instanceof PicFailure ? error : unreadable(from, error);
  }
  return fromChunks(createReadStream(path));
}

async function toOutput(pic: PicContext, body: ReadableStream<Uint8Array>): Promise<void> {
  const { stdout } = pic.around;
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    const text = decoder.decode(chunk, { stream: true });
    if (stdout.isTTY === true) pic.output.text(text);
    // A reader that is slower than the server must not make us hold it all.
    else if (stdout.write(text) === false && "once" in stdout) {
      await once(stdout as unknown as NodeJS.EventEmitter, "drain");
    }
  }
}

async function toFile(
  path: string,
  shown: string,
  body: ReadableStream<Uint8Array>,
  force: boolean,
): Promise<void> {
  const file = createWriteStream(path, { flags: force ? "w" : "wx", mode: 0o600 });
  try {
    await once(file, "open");
  } catch (error) {
    const { code } = error as { code?: string };
    throw new PicFailure(
      `${shown} cannot be written: ${code === "EEXIST" ? "it is there already" : code}`,
      {
        exit: code === "EEXIST" ? EXIT.conflict : EXIT.failure,
        ...(code === "EEXIST" ? { next: "--force replaces it" } : {}),
      },
    );
  }
  try {
    for await (const chunk of body) if (!file.write(chunk)) await once(file, "drain");
    file.end();
    await once(file, "finish");
  } catch (error) {
    file.destroy();
    // Half an export is worse than none.
    await rm(path, { force: true });
    throw error;
  }
}

function fromChunks(chunks: AsyncIterable<Uint8Array | string>): ReadableStream<Uint8Array> {
  const bytes = async function* () {
    for await (const chunk of chunks) yield typeof chunk === "string" ? Buffer.from(chunk) : chunk;
  };
  // node:stream/web's stream is the global one; their types are declared apart.
  return Readable.toWeb(Readable.from(bytes(), { objectMode: false })) as never;
}
