/**
 * Which tables of the main database a backup leaves out. All others are taken, whatever a migration
 * adds: the list of them comes from the schema itself, so that no table can be forgotten. Execution
 * records are in a database (a schema, on PostgreSQL) of their own, which no backup looks at: they are
 * best effort, kept for days, and the largest part of what is written.
 */
import { PicError } from "../domain/errors.ts";
import type { TableShape } from "./port.ts";

/** Table → why. */
export const tablesLeftOut: Readonly<Record<string, string>> = {
  schema_migrations: "a restore makes the schema itself, with its own history",
  sessions: "a backup in the wrong hands opens no session; people log in again",
};

/** What of a schema's tables travels, by name. */
export function backupTables(schema: readonly TableShape[]): TableShape[] {
  return schema
    .filter(({ name }) => !Object.hasOwn(tablesLeftOut, name))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Throws PicError `unavailable`: an older executable neither backs up nor fills a newer schema. */
export function checkSchema(label: string, schema: number, schemaMax: number): void {
  if (schema <= schemaMax) return;
  throw new PicError(
    "unavailable",
    `${label} has schema ${schema}, and this PiCloud knows schemas up to ${schemaMax}: use the newer PiCloud that wrote it.`,
  );
}

/** Throws PicError `invalid` when a table holds another number of rows than the backup says. */
export function checkCount(table: string, found: number, expected: number | undefined): void {
  if (found === expected) return;
  throw new PicError(
    "invalid",
    `The table ${table} has ${found} rows after the restore, and ${expected ?? 0} in the backup.`,
  );
}
