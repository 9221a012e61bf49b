/**
 * The parts of a server between a commit and a handler, in this process, so that moments in between can
 * be noted: the engine, the pool over the compiled binary's children, the gate, the invoker, and a
 * dispatcher that is started when it is wanted.
 */
import { createDispatcher, type Dispatcher } from "../src/background/dispatcher.ts";
import { systemClock } from "../src/base/clock.ts";
import { newId } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/log.ts";
import { type ComposedBindings, composeBindings } from "../src/compose-bindings.ts";
import { loadConfig } from "../src/config.ts";
import type { Binding, BindingContext } from "../src/domain/bindings.ts";
import { RETRY_DEFAULT } from "../src/domain/events.ts";
import { LIMIT_CEILINGS } from "../src/domain/limits.ts";
import { Gate } from "../src/execution/gate.ts";
import { createInvoker } from "../src/execution/invoke.ts";
import { createErrorMapper } from "../src/execution/positions.ts";
import { ExecutionRecords } from "../src/execution/records.ts";
import { openScriptCatalog } from "../src/execution/scripts.ts";
import type { SandboxPool } from "../src/sandbox/api.ts";
import { createSandboxPool } from "../src/sandbox/pool.ts";
import { insertApp } from "../src/storage/apps.ts";
import type { Database } from "../src/storage/port.ts";
import { insertScript, insertVersion } from "../src/storage/scripts.ts";
import { insertTrigger } from "../src/storage/triggers.ts";
import { binary } from "./server.ts";

export const children = 2;
/** Has no trigger, and one that has. */
export const quietApp = "app-quiet";
export const eventApp = "app-events";
export const handlerScript = "script-handler";

export interface EventParts {
  db: Database;
  bindings: ComposedBindings;
  pool: SandboxPool;
  /** Made anew for each start. */
  dispatcher(): Dispatcher;
  /** Called when a handler's first host call arrives, with performance.now(). */
  onHandler: (at: number) => void;
  close(): Promise<void>;
}

/** What the handler runs: a host call that says that it has begun, when `probes`. */
const handlerCode = {
  trivial: "export default function () {}",
  probing: `import { kv } from "picloud"; export default () => kv.collection("probe").has("x");`,
};

export async function openParts(
  { db, logs, close }: { db: Database; logs: Database; close(): Promise<void> },
  handler: keyof typeof handlerCode,
): Promise<EventParts> {
  await seed(db, handlerCode[handler]);
  const ends: (() => Promise<void> | void)[] = [close];
  const log = silentLogger;
  const clock = systemClock;
  const config = loadConfig({
    args: [],
    env: {},
    workingDir: "/",
    self: [binary],
    memoryBytes: 2 ** 32,
    isTerminal: false,
    readFile: () => "",
  }).config;
  const bindings = await composeBindings({ config, log, db, clock }, ends);
  const parts = { onHandler: (_at: number): void => {} };
  const pool = createSandboxPool({
    children,
    bindings: bindings.bindings.map((binding) => noting(binding, (at) => parts.onHandler(at))),
    image_cache_mb: 32,
    command: [binary, "sandbox"],
    clock,
    log,
  });
  const records = new ExecutionRecords({ logs, clock, log, mapError: createErrorMapper(db) });
  const forget = (id: string): void => pool.forget(id);
  const catalog = await openScriptCatalog({ db, forget, ceilings: LIMIT_CEILINGS, log });
  const gate = new Gate({ clock });
  const around = { catalog, gate, pool, db, records, clock, log, newId };
  const invoker = createInvoker({ ...around, sdkVersion: "1.0" });
  await pool.ready();
  ends.push(
    () => catalog.close(),
    () => records.stop(),
    () => pool.stop(),
  );
  return Object.assign(parts, {
    db,
    bindings,
    pool,
    dispatcher: () => createDispatcher({ db, invoker, gate, clock, log, newId }),
    close: async () => {
      for (const end of ends.reverse()) await end();
    },
  });
}

/** A context as an execution of this app has one. */
export function contextOf(app_id: string): BindingContext {
  return { app_id, script_id: "", execution_id: newId(), delivery: null, seen: { seq: 0 } };
}

function noting(binding: Binding, note: (at: number) => void): Binding {
  const { has } = binding.methods;
  if (binding.name !== "kv" || has === undefined) return binding;
  const noted = {
    ...has,
    call: (cx: BindingContext, args: unknown) => {
      note(performance.now());
      return has.call(cx, args);
    },
  };
  return { ...binding, methods: { ...binding.methods, has: noted } };
}

async function seed(db: Database, code: string): Promise<void> {
  const created_at = Date.now();
  await db.tx(async (tx) => {
    for (const id of [quietApp, eventApp])
      await insertApp(tx, { id, slug: id, name: id, created_at });
    await insertScript(tx, {
      id: handlerScript,
      app_id: eventApp,
      name: "handler",
      kind: "endpoint",
      description: "",
      limits: {},
      public_execute: false,
      active_version: 1,
      created_at,
      updated_at: created_at,
    });
    await insertVersion(tx, {
      script_id: handlerScript,
      number: 1,
      kind: "endpoint",
      source: code,
      code,
      source_map: "{}",
      imports: ["picloud"],
      shape_rule: 0,
      created_at,
      created_by: null,
    });
    await insertTrigger(tx, {
      id: newId(),
      app_id: eventApp,
      script_id: handlerScript,
      kind: "kv",
      is_enabled: true,
      collection: "orders",
      operations: ["insert", "update", "delete"],
      retry: RETRY_DEFAULT,
      registered_by: null,
      created_at,
      updated_at: created_at,
    });
  });
}
