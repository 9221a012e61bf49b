/**
 * The way to a server: which address, which token, and a fetch that trusts no answer. A stored token is
 * sent to the address it was stored for and to no other; a redirect is never followed, since the token
 * would go with it.
 */
import { tokenVariable, urlVariable } from "../domain/credentials.ts";
import { cliAnswerBytesMax, cliAnswerMsMax } from "../domain/limits.ts";
import { readCredentials } from "./credentials-file.ts";
import { type Surroundings, variable } from "./environment.ts";
import { EXIT } from "./exit-codes.ts";
import { notPiCloud, PicFailure, usageFailure } from "./failures.ts";

/** Where commands go, and as whom. */
export interface Server {
  /** As serverUrl writes it. */
  url: string;
  token: string;
  /** Where the token is from. */
  source: "variable" | "file";
}

/**
 * The form in which addresses are stored and compared: scheme, host and port, so that the address of
 * the dashboard will do. Throws PicFailure.
 * @param name of what was given: `--url`
 */
export function serverUrl(text: string, name: string): string {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === "") {
    throw usageFailure(`${name}: ${text} is no address of a server`, "like http://pi:8080");
  }
  if (url.username !== "" || url.password !== "") {
    throw usageFailure(`${name}: an address holds no user name or password`, "use pic login");
  }
  return url.origin;
}

/** The address that is meant, or null when none is known. @param flag of the command line */
export function chosenUrl(around: Surroundings, flag: string | null): string | null {
  if (flag !== null) return serverUrl(flag, "--url");
  const set = variable(around.env, urlVariable);
  return set === null ? readCredentials(around).current : serverUrl(set, urlVariable);
}

/** Throws PicFailure when nobody is signed in there. */
export function chosenServer(around: Surroundings, flag: string | null): Server {
  const url = chosenUrl(around, flag);
  if (url === null) {
    throw new PicFailure("You are not signed in to a server", {
      exit: EXIT.notSignedIn,
      next: `pic login --url http://<host>:8080, or set ${urlVariable} and ${tokenVariable}`,
    });
  }
  const token = variable(around.env, tokenVariable);
  if (token !== null) return { url, token: checkedToken(token, tokenVariable), source: "variable" };
  const stored = readCredentials(around).servers[url];
  if (stored === undefined) {
    throw new PicFailure(`You are not signed in to ${url}`, {
      exit: EXIT.notSignedIn,
      next: `pic login --url ${url}`,
    });
  }
  return { url, token: stored.token, source: "file" };
}

/** A header takes no other characters; the value is never part of a message. */
export function checkedToken(text: string, name: string): string {
  const token = text.trim();
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw usageFailure(`${name}: that is no token`, "tokens begin with pic_ or pcs_");
}

export interface FetchOptions {
  /** Until the answer is there, body included unless it streams. Null: for ever. */
  timeoutMs?: number | null;
  signal?: AbortSignal;
  /** A script's answer: any status, any type, unread. */
  isScript?: boolean;
}

/** A fetch for one server: throws PicFailure `unreachable` for whatever is no answer of a PiCloud. */
export function guardedFetch(
  around: Surroundings,
  url: string,
  { timeoutMs = cliAnswerMsMax, signal, isScript = false }: FetchOptions = {},
): (request: Request) => Promise<Response> {
  return async (request) => {
    if (new URL(request.url).origin !== url) throw new Error("a request to another server");
    const timeout = new AbortController();
    const timer = timeoutMs === null ? null : setTimeout(() => timeout.abort(), timeoutMs);
    const ends = [timeout.signal, request.signal, ...(signal === undefined ? [] : [signal])];
    try {
      const response = await around.fetch(request, {
        redirect: "manual",
        signal: AbortSignal.any(ends),
      });
      const mayStream = timeoutMs === null && request.method === "GET";
      return isScript ? response : await checked(response, url, mayStream);
    } catch (error) {
      if (error instanceof PicFailure) throw error;
      if (signal?.aborted === true) throw error;
      throw unreachable(
        url,
        timeout.signal.aborted ? `no answer in ${(timeoutMs ?? 0) / 1000} s` : cause(error),
      );
    } finally {
      if (timer !== null) clearTimeout(timer);
    }
  };
}

/** The answer, read whole unless it streams, which it does only where that was asked for. */
async function checked(response: Response, url: string, mayStream: boolean): Promise<Response> {
  if (response.status >= 300 && response.status < 400) {
    const to = URL.parse(response.headers.get("location") ?? "", url)?.origin ?? "nowhere";
    throw new PicFailure(`${url} redirects to ${to}; a token does not follow`, {
      exit: EXIT.unreachable,
      next: `pic login --url ${to}, if that is your server`,
    });
  }
  const kind = response.headers.get("content-type") ?? "";
  if (mayStream && kind.startsWith("application/x-ndjson")) return response;
  const isJson = /^application\/(problem\+)?json\b/.test(kind);
  if (response.ok && response.status !== 204 && !isJson) {
    throw notPiCloud(url, `answered with ${kind === "" ? "no content type" : kind}`);
  }
  const { status, headers } = response;
  const body = await readWhole(response, url);
  if (isJson && !isParsable(body)) throw notPiCloud(url, "answered with damaged JSON");
  return new Response(status === 204 ? null : body, { status, headers });
}

async function readWhole(response: Response, url: string): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > cliAnswerBytesMax) throw notPiCloud(url, "answered without an end");
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function isParsable(body: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder().decode(body));
    return true;
  } catch {
    return false;
  }
}

function unreachable(url: string, why: string): PicFailure {
  return new PicFailure(`${url} cannot be reached: ${why}`, {
    exit: EXIT.unreachable,
    next: "check that the server runs, and the address (--url)",
  });
}

/** Bun's codes → what they mean. */
const CAUSES: readonly [pattern: RegExp, cause: string][] = [
  [/ConnectionRefused|ECONNREFUSED/, "the connection was refused"],
  [/FailedToOpenSocket|ENOTFOUND|EAI_|DNS/, "there is no such host, or no way to it"],
  [/ConnectionClosed|ECONNRESET|EPIPE/, "the connection was closed before an answer"],
  [/Timeout|ETIMEDOUT/, "the connection timed out"],
  [
    /CERT|TLS|SSL|SELF_SIGNED|UNABLE_TO_VERIFY/i,
    "its certificate is not trusted, or there is no TLS",
  ],
];

function cause(error: unknown): string {
  const { code = "", message = String(error) } = error as { code?: unknown; message?: string };
  const text = `${code} ${message}`;
  const known = CAUSES.find(([pattern]) => pattern.test(text));
  return known === undefined ? message : `${known[1]} (${code === "" ? message : code})`;
}
