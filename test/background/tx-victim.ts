/**
 * A process of the exactly-once test: a dispatcher with all below it, on a database that is there already.
 * It handles what waits, and kills itself when one event has come to a step; without a step it ends when
 * nothing waits any more.
 *
 * Arguments: the folder or the address of the database, the event, the step.
 */
import { join } from "node:path";
import { createDispatcher } from "../../src/background/dispatcher.ts";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { createLogger } from "../../src/base/log.ts";
import type { RecordWrites } from "../../src/bindings/kv-writes.ts";
import { createTxBinding } from "../../src/bindings/tx.ts";
import type { Binding, BindingContext } from "../../src/domain/bindings.ts";
import { LIMIT_CEILINGS } from "../../src/domain/limits.ts";
import { Gate } from "../../src/execution/gate.ts";
import { createInvoker } from "../../src/execution/invoke.ts";
import { createErrorMapper } from "../../src/execution/positions.ts";
import { ExecutionRecords } from "../../src/execution/records.ts";
import { openScriptCatalog } from "../../src/execution/scripts.ts";
import { createSandboxPool } from "../../src/sandbox/pool.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { sql } from "../../src/storage/sql.ts";
import { openSqliteFolder } from "../../src/storage/sqlite.ts";
import { composeForTest } from "../bindings/composed.ts";

const pollMs = 10;
const [place, event, lastStep] = process.argv.slice(2) as [string, string, string];

const clock = systemClock;
const log = createLogger({
  format: "json",
  level: "error",
  write: (line) => void process.stderr.write(line),
  now: Date.now,
});

/** The event has come to a step. */
function reach(event_id: string | undefined, step: string): void {
  if (event_id === event && step === lastStep) process.kill(process.pid, "SIGKILL");
}

/** The binding with a step before and after each of its calls that a delivery makes. */
function watched(binding: Binding): Binding {
  const methods = Object.entries(binding.methods).map(([name, method]) => {
    const call = async (cx: BindingContext, args: unknown): Promise<unknown> => {
      const { ordinal } = args as { ordinal?: number };
      reach(cx.delivery?.event_id, `before ${name} ${ordinal}`);
      const answer = await method.call(cx, args);
      reach(cx.delivery?.event_id, `after ${name} ${ordinal}`);
      return answer;
    };
    return [name, { ...method, call }] as const;
  });
  return { name: binding.name, methods: Object.fromEntries(methods) };
}

/** The writes of entries with a step between those of one commit. */
function watchedWrites(writes: RecordWrites): RecordWrites {
  return {
    ...writes,
    async replace(tx, cx, change) {
      const version = await writes.replace(tx, cx, change);
      reach(cx.delivery?.event_id, `inside ${change.collection}`);
      return version;
    },
  };
}

const around = { clock, log };
const { db, logs, close } = await (place.startsWith("postgres://")
  ? openPostgres({ url: place, ...around })
  : openSqliteFolder({ dir: place, durability: "full", ...around }));
const { kv, writes, usage, stop } = await composeForTest({ db, clock });
const tx = createTxBinding({
  db,
  clock,
  kv: watchedWrites(writes),
  docs: writes,
  usage,
  random: Math.random,
  wait: Bun.sleep,
});
const pool = createSandboxPool({
  children: 1,
  bindings: [kv, watched(tx)],
  image_cache_mb: 32,
  command: [process.execPath, join(import.meta.dir, "../../src/main.ts"), "sandbox"],
  clock,
  log,
});
const records = new ExecutionRecords({ logs, clock, log, mapError: createErrorMapper(db) });
const forget = (id: string): void => pool.forget(id);
const catalog = await openScriptCatalog({ db, forget, ceilings: LIMIT_CEILINGS, log });
const gate = new Gate({ clock });
const invoker = createInvoker({
  catalog,
  gate,
  pool,
  db,
  records,
  clock,
  log,
  newId,
  sdkVersion: "1.0",
});
let isHandled = false;
const dispatcher = createDispatcher({
  db,
  gate,
  clock,
  log,
  newId,
  invoker: {
    async deliver(delivery) {
      reach(delivery.event_id, "after claim");
      const report = await invoker.deliver(delivery);
      reach(delivery.event_id, "before settle");
      isHandled ||= delivery.event_id === event;
      return report;
    },
  },
  failpoint: (step) => {
    if (step === "after_settle" && isHandled) reach(event, "after settle");
  },
});
await dispatcher.start();
while ((await db.get(sql`select event_id from outbox limit 1`)) !== null) await Bun.sleep(pollMs);
await dispatcher.stop();
await pool.stop();
await records.stop();
catalog.close();
await stop();
await close();
