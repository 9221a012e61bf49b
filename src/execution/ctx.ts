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
  return (
    `{"executionId":"${executionId}","requestId":${JSON.stringify(request_id)},${scriptJson},` +
    `"sdkVersion":${sdkVersionJson},"invocation":"${invocation}","request":{` +
    `"method":${JSON.stringify(request.method)},"host":${JSON.stringify(request.host)},` +
    `"path":${JSON.stringify(request.path)},"headers":${JSON.stringify(request.headers)},` +
    `"query":${JSON.stringify(request.query)},"queries":${JSON.stringify(request.queries)},` +
    `"params":${JSON.stringify(request.params)},"rest":${JSON.stringify(request.rest)},` +
    `"bodyBase64":${JSON.stringify(request.body_base64)},"body":${request.body_json}}}`
  );
}
