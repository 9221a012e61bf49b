/** Evaluates expressions inside a guest. */
import { type Bundle, setup as setupSandbox } from "../sandbox/child-setup.ts";

let shared: Promise<Bundle> | null = null;

/** The value of an async function body run in a guest, with the SDK imported; throws what it threw. */
export async function inGuest(body: string): Promise<unknown> {
  shared ??= setupSandbox();
  const source = `import * as picloud from "picloud"; const { base64, hex, kv, log } = picloud;
    export default async function (ctx) { ${body} }`;
  const done = await (await shared).run(source, { limits: { memory_mb: 64, cpu_ms: 10_000 } });
  if (done.status === "success") return done.value;
  throw new Error(
    `${done.status} ${done.budget ?? ""} ${done.error?.name}: ${done.error?.message}`,
  );
}

/** The value of an expression in a guest. */
export async function evaluate(expression: string): Promise<unknown> {
  return await inGuest(`return (${expression})`);
}
