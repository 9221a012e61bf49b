/** What people do with an app's data, over the code of the scripts' bindings. */
import type { Clock } from "./base/clock.ts";
import { newId } from "./base/ids.ts";
import { DocsIndexes } from "./bindings/docs.ts";
import type { ComposedBindings } from "./compose-bindings.ts";
import type { Audit } from "./services/audit.ts";
import { DataDocs } from "./services/data-docs.ts";
import { DataKv } from "./services/data-kv.ts";
import { DataRecords } from "./services/data-records.ts";
import { DataTransfer } from "./services/data-transfer.ts";
import type { Database } from "./storage/port.ts";

export interface ComposedData {
  kv: DataKv;
  docs: DataDocs;
  transfer: DataTransfer;
}

export function composeData(
  { db, clock, audit }: { db: Database; clock: Clock; audit: Audit },
  bindings: Omit<ComposedBindings, "bindings">,
): ComposedData {
  const { usage, docs } = bindings;
  const around = { db, clock, usage, audit };
  const writes = { kv: bindings.kvWrites, docs: bindings.docsWrites };
  const quiet = { kv: bindings.quietKvWrites, docs: bindings.quietDocsWrites };
  const indexes = new DocsIndexes({ db, clock, usage });
  const entries = new DataRecords({
    ...around,
    source: "kv",
    writes: writes.kv,
    quiet: quiet.kv,
    conflict: "kv_version_conflict",
  });
  const documents = new DataRecords({
    ...around,
    source: "docs",
    writes: writes.docs,
    quiet: quiet.docs,
    conflict: "docs_version_conflict",
  });
  return {
    kv: new DataKv({ db, clock, records: entries }),
    docs: new DataDocs({ db, clock, newId, records: documents, docs, indexes, audit }),
    transfer: new DataTransfer({ ...around, writes, quiet }),
  };
}
