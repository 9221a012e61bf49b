/** Values that a person hands to a command: as an argument, in a file, or on standard input. */
import { resolve } from "node:path";
import type { PicContext } from "./context.ts";
import { usageFailure } from "./failures.ts";
import { jsonPlace } from "./json-place.ts";
import { decoded, readText, tooLarge } from "./source-file.ts";

export interface Given {
  /** `-` is standard input. */
  value?: string | undefined;
  file?: string | undefined;
}

/** The text that was given. Throws PicFailure when there is none. @param name of it: `<value>` */
export async function givenText(
  pic: PicContext,
  { value, file }: Given,
  { name, bytesMax }: { name: string; bytesMax: number },
): Promise<string> {
  if (value !== undefined && file !== undefined && value !== "-") {
    throw usageFailure(`${name} and --file: give one of them`);
  }
  if (file !== undefined && file !== "-") {
    return readText(resolve(pic.around.workingDir, file), file, bytesMax);
  }
  if (value !== undefined && value !== "-") return value;
  const isAsked = value === "-" || file === "-";
  if (!isAsked && pic.around.stdin.isTTY === true) {
    throw usageFailure(`${name} is missing`, "give it as an argument, with --file, or pipe it in");
  }
  return decoded(await stdinBytes(pic, bytesMax), "standard input");
}

/** The JSON value that was given. Throws PicFailure that says where it is no JSON. */
export async function givenJson(
  pic: PicContext,
  given: Given,
  options: { name: string; bytesMax: number },
): Promise<unknown> {
  return parsedJson(await givenText(pic, given, options), given.file ?? options.name);
}

/** @param shown what it is, for the message */
export function parsedJson(text: string, shown: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const { line, column } = jsonPlace(text);
    throw usageFailure(
      `${shown}: no JSON at line ${line}, column ${column}`,
      `a text needs quotes, which the shell takes away: '"text"', or --text`,
    );
  }
}

/** Throws PicFailure when it is longer. */
async function stdinBytes(pic: PicContext, bytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of pic.around.stdin) {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    size += bytes.length;
    if (size > bytesMax) throw tooLarge("standard input", size, bytesMax);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}
