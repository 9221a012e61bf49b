/** The migrations of every engine, embedded: the executable needs no file beside it. */

import postgresMain0001 from "../../migrations/postgres/0001_initial.sql" with { type: "text" };
import postgresMain0002 from "../../migrations/postgres/0002_script_imports.sql" with {
  type: "text",
};
import postgresMain0003 from "../../migrations/postgres/0003_events.sql" with { type: "text" };
import postgresMain0004 from "../../migrations/postgres/0004_docs.sql" with { type: "text" };
import postgresMain0005 from "../../migrations/postgres/0005_access.sql" with { type: "text" };
import postgresLogs0001 from "../../migrations/postgres/logs/0001_initial.sql" with {
  type: "text",
};
import postgresLogs0002 from "../../migrations/postgres/logs/0002_event.sql" with { type: "text" };
import main0001 from "../../migrations/sqlite/0001_initial.sql" with { type: "text" };
import main0002 from "../../migrations/sqlite/0002_script_imports.sql" with { type: "text" };
import main0003 from "../../migrations/sqlite/0003_events.sql" with { type: "text" };
import main0004 from "../../migrations/sqlite/0004_docs.sql" with { type: "text" };
import main0005 from "../../migrations/sqlite/0005_access.sql" with { type: "text" };
import logs0001 from "../../migrations/sqlite/logs/0001_initial.sql" with { type: "text" };
import logs0002 from "../../migrations/sqlite/logs/0002_event.sql" with { type: "text" };
import type { Migration } from "./migrator.ts";

/** The main database. */
export const sqliteMigrations: readonly Migration[] = [
  { number: 1, name: "initial", text: main0001 },
  { number: 2, name: "script_imports", text: main0002 },
  { number: 3, name: "events", text: main0003 },
  { number: 4, name: "docs", text: main0004 },
  { number: 5, name: "access", text: main0005 },
];

/** The database of execution records. */
export const sqliteLogsMigrations: readonly Migration[] = [
  { number: 1, name: "initial", text: logs0001 },
  { number: 2, name: "event", text: logs0002 },
];

/** The main database, in the default schema. */
export const postgresMigrations: readonly Migration[] = [
  { number: 1, name: "initial", text: postgresMain0001 },
  { number: 2, name: "script_imports", text: postgresMain0002 },
  { number: 3, name: "events", text: postgresMain0003 },
  { number: 4, name: "docs", text: postgresMain0004 },
  { number: 5, name: "access", text: postgresMain0005 },
];

/** Execution records, in a schema of their own. */
export const postgresLogsMigrations: readonly Migration[] = [
  { number: 1, name: "initial", text: postgresLogs0001 },
  { number: 2, name: "event", text: postgresLogs0002 },
];
