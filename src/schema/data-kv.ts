/** An app's entries on the wire, as people see and edit them. */
import { type } from "./arktype.ts";
import { ifVersion } from "./data.ts";

export const kvEntry = type({
  key: "string",
  value: "unknown",
  version: "number.integer >= 1",
  updated_at: "string",
  expires_at: "string | null",
});
export type WireKvEntry = typeof kvEntry.infer;

export const kvEntryPage = type({ items: kvEntry.array(), next_cursor: "string | null" });

export const kvEntriesQuery = type({
  "+": "reject",
  collection: "string",
  "prefix?": "string",
  "limit?": "string",
  "cursor?": "string <= 2048",
});

export const kvEntryQuery = type({ "+": "reject", collection: "string", key: "string" });
export const kvDeleteQuery = kvEntryQuery.merge({ "+": "reject", "if_version?": ifVersion });

/** Without `ttl_seconds` an entry expires as it did, with null never. */
export const kvEntryInput = type({
  "+": "reject",
  collection: "string",
  key: "string",
  value: "unknown",
  "ttl_seconds?": "number | null",
  "if_version?": "number.integer >= 0",
});
export type KvEntryInput = typeof kvEntryInput.infer;

export const kvWritten = type({ key: "string", version: "number.integer >= 1" });
export type WireKvWritten = typeof kvWritten.infer;

/** One line of an export or an import. */
export const kvLine = type({
  collection: "string",
  key: "string",
  value: "unknown",
  "expires_at?": "string",
});
