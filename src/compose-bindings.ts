/**
 * What host calls stand on, and the bindings over it: who adds one adds it here, and to the result what
 * the admin API needs of it.
 */
import { DocIndexBuilder } from "./background/doc-indexes.ts";
import type { Clock } from "./base/clock.ts";
import { newId } from "./base/ids.ts";
import type { Logger } from "./base/log.ts";
import { createDocsBinding } from "./bindings/docs.ts";
import { createDocsWrites } from "./bindings/docs-writes.ts";
import { Emission } from "./bindings/emission.ts";
import { createKvBinding } from "./bindings/kv.ts";
import { createKvWrites, type RecordWrites } from "./bindings/kv-writes.ts";
import { LiveTriggers } from "./bindings/live-triggers.ts";
import { createTxBinding } from "./bindings/tx.ts";
import { Usage } from "./bindings/usage.ts";
import type { Config } from "./config.ts";
import type { Binding } from "./domain/bindings.ts";
import type { Database } from "./storage/port.ts";

export interface ComposedBindings {
  bindings: Binding[];
  docs: Binding;
  kvWrites: RecordWrites;
  docsWrites: RecordWrites;
  /** The same without events. */
  quietKvWrites: RecordWrites;
  quietDocsWrites: RecordWrites;
  usage: Usage;
}

/** `ends` gets how it ends, to be called after the last host call. */
export async function composeBindings(
  {
    config,
    log,
    db,
    clock,
  }: {
    config: Pick<Config, "appDataRows" | "appDataMb">;
    log: Logger;
    db: Database;
    clock: Clock;
  },
  ends: (() => Promise<void> | void)[],
): Promise<ComposedBindings> {
  const live = new LiveTriggers({ db, log });
  ends.push(await live.start());
  const usage = new Usage({
    db,
    clock,
    log,
    rows_max: config.appDataRows,
    bytes_max: config.appDataMb * 1024 * 1024,
  });
  ends.push(() => usage.stop());
  const emission = new Emission({ db, clock, newId, log, live, usage });
  const noTriggers = { mayHave: () => false, idsFor: () => [] };
  const quiet = new Emission({ db, clock, newId, log, usage, live: noTriggers });
  const kvWrites = createKvWrites({ clock, emission, usage });
  const quietKvWrites = createKvWrites({ clock, emission: quiet, usage });
  const kv = createKvBinding({ db, clock, emission, usage, writes: kvWrites });
  const docsWrites = createDocsWrites({ clock, emission, usage });
  const quietDocsWrites = createDocsWrites({ clock, emission: quiet, usage });
  const docs = createDocsBinding({ db, clock, newId, emission, usage, writes: docsWrites });
  const builder = new DocIndexBuilder({ db, usage, clock, log });
  await builder.start();
  ends.push(() => builder.stop());
  const random = Math.random;
  const tx = createTxBinding({ db, clock, kv: kvWrites, docs: docsWrites, usage, random, wait });
  const writes = { kvWrites, docsWrites, quietKvWrites, quietDocsWrites };
  return { bindings: [kv, docs, tx], docs, ...writes, usage };
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
