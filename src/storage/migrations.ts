/** The migrations of every engine, embedded: the executable needs no file beside it. */

import main0001 from "../../migrations/sqlite/0001_initial.sql" with { type: "text" };
import logs0001 from "../../migrations/sqlite/logs/0001_initial.sql" with { type: "text" };
import type { Migration } from "./migrator.ts";

/** The main database. */
export const sqliteMigrations: readonly Migration[] = [
  { number: 1, name: "initial", text: main0001 },
];

/** The database of execution records. */
export const sqliteLogsMigrations: readonly Migration[] = [
  { number: 1, name: "initial", text: logs0001 },
];
