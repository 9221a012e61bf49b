/**
 * `ctx` as JSON text, put together by hand: the body arrives as JSON text and is never parsed and
 * printed again, and what is the same for every execution of a script is printed once with it.
 */
import type { InvocationInput } from "./api.ts";

/**
 * @param executionId made by us: needs no escaping
 * @param scriptJson members of the script, JSON text without braces
 * @param sdkVersionJson a JSON string
 */
export function ctxJson(
  executionId: string,
  scriptJson: string,
  sdkVersionJson: string,
  { invocation, request_id, request }: InvocationInput,
): string {
  const { method, host, path, headers, query, queries, params, rest } = request;
  const bodyBase64 = request.body_base64;
  // One call: nine small ones took twice as long.
  const json = JSON.stringify({
    method,
    host,
    path,
    headers,
    query,
    queries,
    params,
    rest,
    bodyBase64,
  });
  return (
    `{"executionId":"${executionId}","requestId":${JSON.stringify(request_id)},${scriptJson},` +
    `"sdkVersion":${sdkVersionJson},"invocation":"${invocation}",` +
    `"request":${json.slice(0, -1)},"body":${request.body_json}}}`
  );
}
