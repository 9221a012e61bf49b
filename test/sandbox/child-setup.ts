/** Executions in this process, without a child around them: programs in, outcomes out. */
import { LIMIT_DEFAULTS, type ScriptLimits } from "../../src/domain/limits.ts";
import { ChildExecutions } from "../../src/sandbox/child-executions.ts";
import type { DoneHeader, Program } from "../../src/sandbox/protocol.ts";
import { DELIVERY } from "../../src/sdk/operations.ts";

export interface Done extends DoneHeader {
  body: string;
  /** The body, parsed, when it is JSON. */
  value: unknown;
}

export interface HostCall {
  execution: number;
  call: number;
  name: string;
  args: Record<string, unknown>;
}

export interface RunOptions {
  limits?: Partial<ScriptLimits>;
  timeout_ms?: number;
  /** Members of `ctx`. */
  ctx?: Record<string, unknown>;
  /** It handles a delivery. */
  delivery?: boolean;
  modules?: Record<string, string>;
  app?: string;
}

export interface Bundle {
  executions: ChildExecutions;
  /** Runs a script to its end. The same source is the same program. */
  run(source: string, options?: RunOptions): Promise<Done>;
  /** Host calls that nobody answered yet, when `answer` is null. */
  calls: HostCall[];
  reply(call: HostCall, value: unknown): void;
  needs: string[];
  /** Guest code entered so far. */
  entries: () => number;
}

export interface SetupOptions {
  /** Answers host calls in the next turn; null leaves them to the test. */
  answer?: ((call: HostCall) => unknown) | null;
  image_cache_mb?: number;
  memory_share?: number;
}

let lastId = 0;

export async function setup(options: SetupOptions = {}): Promise<Bundle> {
  const waiting = new Map<number, (done: Done) => void>();
  const answer = options.answer === undefined ? (call: HostCall) => call.args : options.answer;
  const calls: HostCall[] = [];
  const needs: string[] = [];
  let entries = 0;
  const reply = (call: HostCall, value: unknown): void => {
    const ok = !(value instanceof Error);
    const json = JSON.stringify(
      ok
        ? value
        : {
            name: value.name,
            message: value.message,
            code: (value as never as { code?: string }).code,
          },
    );
    executions.reply(call.execution, { call: call.call, ok, json });
  };
  const executions = new ChildExecutions(
    {
      call(execution, call, name, args) {
        const made = { execution, call, name, args: JSON.parse(args) };
        if (answer === null) calls.push(made);
        else setImmediate(() => reply(made, answer(made)));
      },
      done(execution, header, body) {
        const value = header.body_kind === "json" ? JSON.parse(body) : undefined;
        waiting.get(execution)?.({ ...header, body, value });
        waiting.delete(execution);
      },
      need: (_, program) => needs.push(program),
      pace: () => {},
    },
    {
      enter: () => {
        entries += 1;
      },
      leave: () => {},
    },
    (options.image_cache_mb ?? 32) * 1024 * 1024,
    options.memory_share ?? 1,
  );
  await executions.open();
  const run = (source: string, run: RunOptions = {}): Promise<Done> => {
    const program = makeProgram(source, run.modules, run.app);
    if (executions.programs.use(program.id) === null) {
      executions.addProgram(program, JSON.stringify(program).length);
    }
    lastId += 1;
    const id = lastId;
    return new Promise((resolve) => {
      waiting.set(id, resolve);
      const limits = { ...LIMIT_DEFAULTS, ...run.limits };
      const timeout_ms = run.timeout_ms ?? limits.timeout_ms;
      const header = { program: program.id, limits, timeout_ms };
      const input = JSON.stringify({ request: {}, ...run.ctx });
      executions.run(id, header, run.delivery === true ? DELIVERY + input : input);
    });
  };
  return { executions, run, calls, reply, needs, entries: () => entries };
}

export function makeProgram(
  source: string,
  modules: Record<string, string> = {},
  app_id = "app",
): Program {
  const all = { main: source, ...modules };
  const id = new Bun.CryptoHasher("sha256").update(JSON.stringify([app_id, all])).digest("hex");
  return { id, app_id, entry: "main", modules: all };
}

/** A script whose handler is these statements. */
export function handler(body: string): string {
  return `export default async function (ctx) { ${body} }`;
}
