/** What a database of schema 1 becomes: scripts that were saved before imports were kept. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { sqliteMigrations } from "../../src/storage/migrations.ts";
import { getProgram, getVersion } from "../../src/storage/scripts.ts";
import { sql } from "../../src/storage/sql.ts";
import { openSqlite } from "../../src/storage/sqlite.ts";

const schema1 = `
insert into apps values ('app-1', 'default', 'Default', 1), ('app-2', 'other', 'Other', 1);
insert into scripts values
  ('s1', 'app-1', 'main', 'endpoint', '', '{}', 0, 2, 1, 1),
  ('s2', 'app-2', 'main', 'endpoint', '', '{}', 0, 1, 1, 1),
  ('s3', 'app-1', 'none', 'endpoint', '', '{}', 0, 1, 1, 1);
insert into script_versions (script_id, number, kind, created_at, created_by, source_bytes, imports,
  code, source_map, source) values
  ('s1', 1, 'endpoint', 1, null, 1, '["old"]', 'one', '{}', 'x'),
  ('s1', 2, 'endpoint', 1, null, 1, '["kv","labels","picloud"]', 'two', '{}', 'x'),
  ('s2', 1, 'endpoint', 1, null, 1, '["labels"]', 'one', '{}', 'x'),
  ('s3', 1, 'endpoint', 1, null, 1, '[]', 'one', '{}', 'x');`;

test("a script of schema 1 keeps the imports of its active version, and runs as before", async () => {
  const dir = mkdtempSync(join(tmpdir(), "picloud-imports-"));
  const open = (migrations: typeof sqliteMigrations) =>
    openSqlite({
      path: join(dir, "picloud.db"),
      migrations,
      durability: "normal",
      clock: systemClock,
      log: silentLogger,
    });
  try {
    const before = await open(sqliteMigrations.slice(0, 1));
    await before.tx(async (tx) => {
      for (const statement of schema1.split(";\n")) {
        const texts = [statement.replace(/;$/, "")];
        if (statement.trim() !== "") await tx.run({ texts, values: [] });
      }
    });
    await before.close();

    const db = await open(sqliteMigrations);
    const edges = await db.all(
      sql<{ script_id: string; app_id: string; name: string }>`select script_id, app_id, name
        from script_imports order by script_id, name`,
    );
    expect(edges).toEqual([
      { script_id: "s1", app_id: "app-1", name: "kv" },
      { script_id: "s1", app_id: "app-1", name: "labels" },
      { script_id: "s2", app_id: "app-2", name: "labels" },
    ]);
    expect(await getProgram(db, "s1")).toMatchObject({ code: "two", modules: [] });
    expect((await getVersion(db, "s1", 1))?.shape_rule).toBe(0);
    await db.close();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
