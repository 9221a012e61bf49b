/**
 * Migrations: numbered texts of SQL, each applied in one transaction under a lock and recorded with
 * its checksum. An older executable refuses a newer schema, and nobody runs on a schema whose
 * history differs from the one that was compiled in.
 */
import { sha256Hex } from "../base/ids.ts";
import { PicError } from "../domain/errors.ts";
import type { Reader } from "./port.ts";
import type { Statement } from "./sql.ts";
import { sql } from "./sql.ts";

export interface Migration {
  /** 1, 2, 3, … */
  number: number;
  name: string;
  text: string;
}

/** An engine's transaction under the migration lock. */
export interface MigrationSession extends Pick<Reader, "all"> {
  run(statement: Statement<unknown>): Promise<{ changes: number }>;
  /** Runs a text of several statements. */
  exec(text: string): Promise<void>;
}

export interface MigrationEngine {
  /** Where the schema lives, for messages. */
  readonly label: string;
  /** One transaction that no other migrator enters meanwhile; rolled back when `fn` throws. */
  locked<T>(fn: (session: MigrationSession) => Promise<T>): Promise<T>;
}

interface AppliedRow {
  number: number;
  name: string;
  checksum: string;
}

/**
 * Applies what is missing; resolves to the number of the last migration. Throws PicError
 * `unavailable` for a newer schema and for a changed history.
 */
export async function migrate(
  engine: MigrationEngine,
  migrations: readonly Migration[],
  now: () => number,
): Promise<number> {
  migrations.forEach((migration, index) => {
    if (migration.number !== index + 1) throw new Error("migrations must be numbered 1, 2, 3, …");
  });
  const step = (session: MigrationSession) => applyNext(session, engine.label, migrations, now());
  while (await engine.locked(step));
  return migrations.length;
}

/** Applies one migration, each in a transaction of its own; false when none is left. */
async function applyNext(
  session: MigrationSession,
  label: string,
  migrations: readonly Migration[],
  now: number,
): Promise<boolean> {
  await session.exec(`create table if not exists schema_migrations (
    number integer primary key, name text not null, checksum text not null,
    applied_at bigint not null)`);
  const applied = await session.all(
    sql<AppliedRow>`select number, name, checksum from schema_migrations order by number`,
  );
  checkHistory(label, migrations, applied);
  const next = migrations[applied.length];
  if (next === undefined) return false;
  await session.exec(next.text);
  await session.run(sql`insert into schema_migrations (number, name, checksum, applied_at)
    values (${next.number}, ${next.name}, ${sha256Hex(next.text)}, ${now})`);
  return applied.length + 1 < migrations.length;
}

function checkHistory(
  label: string,
  migrations: readonly Migration[],
  applied: readonly AppliedRow[],
): void {
  const newest = applied.at(-1)?.number ?? 0;
  if (newest > migrations.length) {
    throw new PicError(
      "unavailable",
      `${label} has schema ${newest}, and this PiCloud knows schemas up to ${migrations.length}: start it with the newer PiCloud that wrote it.`,
    );
  }
  applied.forEach((row, index) => {
    const migration = migrations[index];
    if (
      migration === undefined ||
      row.number !== migration.number ||
      row.checksum !== sha256Hex(migration.text)
    ) {
      throw new PicError(
        "unavailable",
        `${label} was made by another build: its migration ${row.number} (${row.name}) differs from the one in this PiCloud.`,
      );
    }
  });
}
