/**
 * What people do with an app's data, on the wire: what entries and documents have in common. Names, keys
 * and values are judged by the checks of scripts.
 */
import { type } from "./arktype.ts";

const natural = "number.integer >= 0";

/** Counted up to a bound; `more` says that there is more than that. */
export const dataCollection = type({
  name: "string",
  records: natural,
  bytes: natural,
  more: "boolean",
});
export type WireDataCollection = typeof dataCollection.infer;

export const dataCollectionPage = type({
  items: dataCollection.array(),
  next_cursor: "string | null",
});

/** The collection's name, once more, says that it is meant. */
export const clearQuery = type({
  "+": "reject",
  collection: "string",
  confirm: "string",
  "emit?": "'true' | 'false'",
});
export const clearedRecords = type({ count: natural, more: "boolean" });
export type WireClearedRecords = typeof clearedRecords.infer;

export const exportQuery = type({ "+": "reject", "collection?": "string" });
export const importQuery = type({
  "+": "reject",
  "collection?": "string",
  "mode?": "'merge' | 'skip' | 'fail'",
  "dry_run?": "'true' | 'false'",
  "emit?": "'true' | 'false'",
});
/** The same in a program's words. Absent: "fail", false. */
export interface ImportSettings {
  collection?: string;
  mode?: "merge" | "skip" | "fail";
  dry_run?: boolean;
  emit?: boolean;
}

export const importCounts = type({ imported: natural, updated: natural, skipped: natural });
export type WireImportCounts = typeof importCounts.infer;

/** A query is text: 0 says that there must be none. */
export const ifVersion = type(/^\d{1,15}$/);
