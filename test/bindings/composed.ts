/** What bindings stand on, over a database of a test, and ways to look at what came of it. */
import type { Clock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { Emission } from "../../src/bindings/emission.ts";
import { createKvBinding } from "../../src/bindings/kv.ts";
import { createKvWrites } from "../../src/bindings/kv-writes.ts";
import { LiveTriggers } from "../../src/bindings/live-triggers.ts";
import { Usage } from "../../src/bindings/usage.ts";
import type { Binding, BindingContext } from "../../src/domain/bindings.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { triggersChannel } from "../../src/storage/triggers.ts";

export interface ComposeOptions {
  db: Database;
  clock: Clock;
  rows_max?: number;
  bytes_max?: number;
}

/** As compose-bindings.ts does it; listens until `stop`. */
export async function composeForTest({ db, clock, rows_max, bytes_max }: ComposeOptions) {
  const log = silentLogger;
  const live = new LiveTriggers({ db, log });
  const stopListening = await live.start();
  const usage = new Usage({
    db,
    clock,
    log,
    rows_max: rows_max ?? 1_000_000,
    bytes_max: bytes_max ?? 1024 ** 3,
  });
  const emission = new Emission({ db, clock, newId, log, live, usage });
  const writes = createKvWrites({ clock, emission, usage });
  const kv = createKvBinding({ db, clock, emission, usage, writes });
  const stop = async (): Promise<void> => {
    stopListening();
    await usage.stop();
  };
  return { live, usage, emission, writes, kv, stop };
}

/** Of app 1, 2, … of a request. */
export function context(app = 1): BindingContext {
  return {
    app_id: `app-${app}`,
    script_id: `script-${app}`,
    execution_id: `execution-${app}`,
    delivery: null,
    seen: { seq: 0 },
  };
}

export function callOf(binding: Binding, name: string, cx: BindingContext, args: unknown) {
  const method = binding.methods[name];
  if (method === undefined) throw new Error(`there is no ${binding.name}.${name}`);
  return method.call(cx, args);
}

export interface SeededTrigger {
  id: string;
  app?: number;
  kind?: "kv" | "docs";
  collection?: string;
  on_insert?: number;
  on_update?: number;
  on_delete?: number;
  is_enabled?: number;
}

/** A trigger of an app's own script, announced as the services do. */
export async function seedTrigger(db: Database, trigger: SeededTrigger): Promise<void> {
  const { id, app = 1, kind = "kv", collection = "*", is_enabled = 1 } = trigger;
  const { on_insert = 1, on_update = 1, on_delete = 1 } = trigger;
  await db.tx(async (tx) => {
    await tx.run(sql`insert into triggers (id, app_id, script_id, kind, is_enabled, collection,
        on_insert, on_update, on_delete, retry, created_at, updated_at)
      values (${id}, ${`app-${app}`}, ${`script-${app}`}, ${kind}, ${is_enabled}, ${collection},
        ${on_insert}, ${on_update}, ${on_delete}, '{"max_attempts":2}', 1, 1)`);
    await db.notify(tx, triggersChannel, `app-${app}`);
  });
}

export interface EmittedRow {
  event_id: string;
  trigger_id: string;
  app_id: string;
  script_id: string;
  source: string;
  type: string;
  depth: number;
  root_execution_id: string;
  retry: string;
  collection: string;
  key: string;
  value: unknown;
  previous: unknown;
}

/** What waits, in the order of its events. */
export async function emitted(db: Database): Promise<EmittedRow[]> {
  const rows = await db.all(sql<Omit<EmittedRow, "value"> & { payload: string }>`select event_id,
      trigger_id, app_id, script_id, source, type, depth, root_execution_id, retry, payload
    from outbox order by event_id, trigger_id`);
  return rows.map(({ payload, ...row }) => ({ ...row, ...(JSON.parse(payload) as EmittedRow) }));
}
