/** Both databases in a fresh folder, with two apps and a script in each. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { moduleShapeRule, type Script, type ScriptVersion } from "../../src/domain/scripts.ts";
import { insertApp } from "../../src/storage/apps.ts";
import type { Database } from "../../src/storage/port.ts";
import { insertScript, insertVersion } from "../../src/storage/scripts.ts";
import { openSqliteFolder } from "../../src/storage/sqlite.ts";

export interface Folder {
  db: Database;
  logs: Database;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function openFolder(): Promise<Folder> {
  const dir = mkdtempSync(join(tmpdir(), "picloud-execution-"));
  const { db, logs, close } = await openSqliteFolder({
    dir,
    durability: "full",
    clock: systemClock,
    log: silentLogger,
  });
  await db.tx(async (tx) => {
    for (const number of [1, 2]) {
      const app_id = `app-${number}`;
      await insertApp(tx, { id: app_id, slug: app_id, name: app_id, created_at: 1 });
      const { script, version } = scriptOf({ id: `script-${number}`, app_id });
      await insertScript(tx, script);
      await insertVersion(tx, version);
    }
  });
  return {
    db,
    logs,
    [Symbol.asyncDispose]: async () => {
      await close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export function scriptOf(over: Partial<Script & ScriptVersion> = {}): {
  script: Script;
  version: ScriptVersion;
} {
  const id = over.id ?? "script-1";
  const number = over.active_version ?? 1;
  const kind = over.kind ?? "endpoint";
  return {
    script: {
      id,
      app_id: over.app_id ?? "app-1",
      name: over.name ?? "hello",
      kind,
      description: "",
      limits: over.limits ?? {},
      public_execute: over.public_execute ?? false,
      active_version: number,
      created_at: 1,
      updated_at: 1,
    },
    version: {
      script_id: id,
      number,
      kind,
      source: over.source ?? "export default () => 1",
      code: over.code ?? "export default () => 1",
      source_map:
        over.source_map ?? '{"version":3,"sources":["hello"],"names":[],"mappings":"AAAA"}',
      imports: over.imports ?? [],
      shape_rule: over.shape_rule ?? (kind === "module" ? moduleShapeRule : 0),
      created_at: 1,
      created_by: null,
    },
  };
}
