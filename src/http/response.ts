/**
 * What a script answered, as HTTP. A script decides status, headers and body; it does not decide
 * about the connection, the framing, PiCloud's own headers or PiCloud's own cookie: such headers are
 * dropped, as are names and values that HTTP cannot carry.
 */
import { sessionCookieName } from "../domain/credentials.ts";
import { BODY_TYPES, type InvocationResult } from "../execution/api.ts";
import { HOP_BY_HOP } from "./request-headers.ts";

const HEADER_NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;
/** Field values of RFC 9110 §5.5; code units above 0xff have no byte. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Also without a name: browsers send the cookie `=a=b` back as `a=b` (RFC 6265bis §5.7). */
const OWN_COOKIE = new RegExp(`^[\\s=]*${sessionCookieName}\\s*(?:[=;]|$)`, "i");
const OWN_PREFIX = "x-picloud-";

/** The answer to the caller. Bun leaves the body away for HEAD and keeps its length. */
export function scriptResponse(result: InvocationResult): Response {
  const { status_code: status, headers: given, body_kind } = result;
  const headers: Record<string, string> = { "x-picloud-execution-id": result.execution_id };
  const isBodyless = status === 204 || status === 205 || status === 304;
  const defaultType = isBodyless ? null : BODY_TYPES[body_kind];
  if (defaultType !== null) headers["content-type"] = defaultType;
  for (const name of Object.keys(given)) {
    const lower = name.toLowerCase();
    const value = given[name] as string;
    if (mayAnswer(lower, value)) headers[lower] = value;
  }
  if (isBodyless || body_kind === "none") return new Response(null, { status, headers });
  const body = body_kind === "base64" ? Buffer.from(result.body, "base64") : result.body;
  return new Response(body, { status, headers });
}

function mayAnswer(name: string, value: string): boolean {
  if (HOP_BY_HOP.has(name) || name === "content-length" || name.startsWith(OWN_PREFIX))
    return false;
  if (!HEADER_NAME.test(name) || !HEADER_VALUE.test(value)) return false;
  return name !== "set-cookie" || !OWN_COOKIE.test(value);
}
