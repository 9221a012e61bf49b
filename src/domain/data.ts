/** What an app keeps, seen without its kind: an entry or a document. */

export type DataSource = "kv" | "docs";

export interface DataRecord {
  collection: string;
  /** Of a document: its id. */
  key: string;
  /** JSON text. */
  value: string;
  version: number;
  updated_at: number;
  /** Null: never; documents never do. */
  expires_at: number | null;
}
