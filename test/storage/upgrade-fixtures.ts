/** SQLite databases as PiClouds of every schema left them, and what is in a database. */
import { Database as Connection } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { sqliteMigrations } from "../../src/storage/migrations.ts";
import { openMain } from "./sqlite-folder.ts";
import { upgradeSeeds } from "./upgrade-seeds.ts";

export type Row = Record<string, unknown>;

/** A data folder that was used with each schema in turn up to this one. */
export async function writeFixture(dir: string, schema = sqliteMigrations.length): Promise<void> {
  mkdirSync(dir, { recursive: true });
  for (let number = 1; number <= schema; number += 1) {
    await (await openMain(dir, { migrations: sqliteMigrations.slice(0, number) })).close();
    using connection = new Connection(join(dir, "picloud.db"));
    connection.run("begin");
    for (const statement of upgradeSeeds[number] ?? []) connection.run(statement);
    connection.run("commit");
    connection.run("pragma wal_checkpoint(truncate)");
  }
}

/** Table → rows, without the migrations' own. */
export function contents(dir: string): Map<string, Row[]> {
  using connection = new Connection(join(dir, "picloud.db"));
  const tables = connection
    .query<{ name: string }, []>(
      "select name from sqlite_schema where type = 'table' and name <> 'schema_migrations' order by name",
    )
    .all();
  return new Map(
    tables.map(({ name }) => [name, connection.query<Row, []>(`select * from "${name}"`).all()]),
  );
}
