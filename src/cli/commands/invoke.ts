/** `pic invoke`: runs a script once, by its id, and shows what it answers. */
import { existsSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { PicClientError, type Problem } from "../../client.ts";
import { bodyBytesMax, cliAnswerBytesMax } from "../../domain/limits.ts";
import type { PicContext } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure, usageFailure } from "../failures.ts";
import { givenText } from "../json-input.ts";
import {
  type AppChoice,
  appMeaning,
  appOption,
  scriptId,
  scriptMeaning,
} from "../script-choice.ts";

interface InvokeOptions extends AppChoice {
  method?: string;
  header?: string[];
  query?: string[];
  data?: string;
  file?: string;
  save?: string;
}

interface Answer {
  status: number;
  headers: Record<string, string>;
  execution_id: string | null;
  bytes: Uint8Array;
  /** Null when it is no text. */
  body: string | null;
}

/** Longer than any script may run. */
const answerMsMax = 3_600_000;

export function registerInvoke(program: Command, pic: PicContext): void {
  program
    .command("invoke")
    .summary("run a script and show its answer; exit code 1 when it fails")
    .description(
      "Runs a script without a route, and prints what it answers: the body on standard output, status and " +
        "execution on standard error. The exit code is 1 when the script failed or answered a status of " +
        "500 and above.",
    )
    .argument("<script>", scriptMeaning)
    .option(appOption, appMeaning)
    .option("-X, --method <method>", "default: GET, with a body POST")
    .option("-H, --header <header>", 'like "accept: text/plain"; several times', several)
    .option("-q, --query <name=value>", "like page=2; several times", several)
    .option("-d, --data <text>", "the body; - is standard input; as JSON unless a header says else")
    .option("--file <file>", "the body, from there")
    .option("--save <file>", "write the answer's body to it")
    .action((script: string, options: InvokeOptions) => invoke(pic, script, options));
}

async function invoke(pic: PicContext, script: string, options: InvokeOptions): Promise<void> {
  const body =
    options.data === undefined && options.file === undefined
      ? null
      : await givenText(
          pic,
          { value: options.data, file: options.file },
          { name: "--data", bytesMax: bodyBytesMax },
        );
  const headers = headersOf(options.header ?? [], body);
  const id = await scriptId(pic, pic.client(), script, options);
  const method = (options.method ?? (body === null ? "GET" : "POST")).toUpperCase();
  const path = `/api/v1/execute/${id}${searchOf(options.query ?? [])}`;
  const began = performance.now();
  const response = await pic.fetch(
    path,
    { method, headers, ...(body === null ? {} : { body }) },
    { isScript: true, timeoutMs: answerMsMax },
  );
  const answer = await answerOf(response);
  refuseOwnProblem(answer);
  await show(pic, answer, options);
  const execution = answer.execution_id === null ? "" : `, execution ${answer.execution_id}`;
  pic.output.note(`${answer.status} in ${Math.round(performance.now() - began)} ms${execution}`);
  if (answer.status < 500) return;
  throw new PicFailure(`${script} answered ${answer.status}${reasonOf(answer)}`, {
    exit: EXIT.failure,
    next: `pic logs ${script}`,
  });
}

async function answerOf(response: Response): Promise<Answer> {
  const bytes = await readBytes(response);
  const { status, headers } = response;
  const execution_id = headers.get("x-picloud-execution-id");
  return { status, headers: Object.fromEntries(headers), execution_id, bytes, body: textOf(bytes) };
}

async function readBytes(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > cliAnswerBytesMax) {
      throw new PicFailure(`The answer is larger than ${cliAnswerBytesMax} bytes`, {
        exit: EXIT.failure,
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** What the server says itself, because no script ran. Throws PicClientError. */
function refuseOwnProblem(answer: Answer): void {
  const isRefusal = [400, 401, 403, 404, 405, 413, 429].includes(answer.status);
  if (!isRefusal || answer.execution_id !== null) return;
  const problem = problemOf(answer);
  throw new PicClientError(answer.status, problem?.code ?? "unknown", problem);
}

async function show(pic: PicContext, answer: Answer, { save }: InvokeOptions): Promise<void> {
  if (pic.output.format === "json") {
    const { bytes, ...shown } = answer;
    const encoded =
      answer.body === null ? { body_base64: Buffer.from(bytes).toString("base64") } : {};
    pic.output.json({ ...shown, ...encoded });
  }
  if (save !== undefined) {
    const path = resolve(pic.around.workingDir, save);
    if (existsSync(path)) {
      throw new PicFailure(`${save} is there already`, { exit: EXIT.conflict });
    }
    writeFileSync(path, answer.bytes, { flag: "wx" });
    return pic.output.note(`Wrote ${save}, ${answer.bytes.length} bytes.`);
  }
  if (pic.output.format === "json" || answer.bytes.length === 0) return;
  if (answer.body === null) {
    return pic.output.note(
      `The body is no text (${answer.bytes.length} bytes): --save writes it to a file.`,
    );
  }
  const isEnded = answer.body.endsWith("\n") || pic.around.stdout.isTTY !== true;
  pic.output.text(isEnded ? answer.body : `${answer.body}\n`);
}

/** A script's failure as the server tells callers; its record says more. */
function reasonOf(answer: Answer): string {
  const detail = problemOf(answer)?.detail;
  return detail === undefined ? "" : `: ${detail}`;
}

function problemOf({ headers, body }: Answer): Problem | null {
  if (headers["content-type"]?.includes("application/problem+json") !== true) return null;
  try {
    const found: unknown = JSON.parse(body ?? "");
    const isProblem =
      typeof found === "object" && found !== null && "detail" in found && "code" in found;
    // The members that are used were just seen.
    return isProblem && typeof found.detail === "string" ? (found as Problem) : null;
  } catch {
    return null;
  }
}

function headersOf(given: readonly string[], body: string | null): Headers {
  const headers = new Headers();
  if (body !== null) headers.set("content-type", isJson(body) ? "application/json" : "text/plain");
  for (const line of given) {
    const [, name = "", value = ""] = /^([!#$%&'*+.^_`|~\w-]+):\s*(.*)$/s.exec(line) ?? [];
    if (name === "") throw usageFailure(`--header: ${line} is no header`, '"name: value"');
    if (/^(?:authorization|host|content-length)$/i.test(name)) {
      throw usageFailure(`--header: ${name} is not for you to set`);
    }
    try {
      headers.set(name, value);
    } catch {
      throw usageFailure(`--header: ${name} cannot have this value`);
    }
  }
  return headers;
}

function searchOf(given: readonly string[]): string {
  const search = new URLSearchParams();
  for (const pair of given) {
    const at = pair.indexOf("=");
    if (at < 1) throw usageFailure(`--query: ${pair} is written like name=value`);
    search.append(pair.slice(0, at), pair.slice(at + 1));
  }
  return search.size === 0 ? "" : `?${search}`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function textOf(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

function several(text: string, before: string[] = []): string[] {
  return [...before, text];
}
