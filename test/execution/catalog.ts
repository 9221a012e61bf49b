/** A catalog over a database that counts reads, holds them back and fails when told. */
import { silentLogger } from "../../src/base/log.ts";
import type { PicError } from "../../src/domain/errors.ts";
import { LIMIT_CEILINGS, type ScriptLimits } from "../../src/domain/limits.ts";
import type { Script, ScriptVersion } from "../../src/domain/scripts.ts";
import { openScriptCatalog, scriptsChannel } from "../../src/execution/scripts.ts";
import { replaceImports } from "../../src/storage/imports.ts";
import type { Database, Seen, Tx } from "../../src/storage/port.ts";
import { insertScript, insertVersion, updateScript } from "../../src/storage/scripts.ts";
import { type Statement, sql } from "../../src/storage/sql.ts";
import { openFolder, scriptOf } from "./folder.ts";

export async function openCatalog(
  options: { ceilings?: Readonly<ScriptLimits>; cacheBytesMax?: number } = {},
) {
  const folder = await openFolder();
  const forgotten: string[] = [];
  const logged: Record<string, unknown>[] = [];
  const reads = {
    count: 0,
    hold: null as Promise<void> | null,
    failure: null as PicError | null,
  };
  const db = Object.create(folder.db) as Database;
  db.all = async <Row>(statement: Statement<Row>, seen?: Seen) => {
    reads.count += 1;
    if (reads.failure !== null) throw reads.failure;
    const rows = await folder.db.all(statement, seen);
    if (reads.hold !== null) await reads.hold;
    return rows;
  };
  db.listen = (channel, fn) => folder.db.listen(channel, fn);
  const catalog = await openScriptCatalog({
    db,
    forget: (programId) => void forgotten.push(programId),
    ceilings: options.ceilings ?? LIMIT_CEILINGS,
    log: {
      ...silentLogger,
      error: (message, fields) => void logged.push({ message, ...fields }),
    },
    ...(options.cacheBytesMax === undefined ? {} : { cacheBytesMax: options.cacheBytesMax }),
  });
  /** Saves as the service does: row, version and notice in one transaction. */
  const save = (over: Partial<Script & ScriptVersion>): Promise<void> =>
    folder.db.tx(async (tx) => {
      const { script, version } = scriptOf(over);
      if (over.active_version !== undefined) await insertVersion(tx, version);
      await updateScript(tx, script);
      await replaceImports(tx, script, version.imports, await storedImports(tx, script.id));
      await folder.db.notify(tx, scriptsChannel, script.id);
    });
  /** A module of script-1's app; its id is its name. */
  const make = (name: string, over: Partial<Script & ScriptVersion> = {}): Promise<void> =>
    folder.db.tx(async (tx) => {
      const code = `export const name = "${name}"`;
      const made = scriptOf({ id: name, name, kind: "module", code, ...over });
      await insertScript(tx, made.script);
      await insertVersion(tx, made.version);
      await replaceImports(tx, made.script, made.version.imports, []);
      await folder.db.notify(tx, scriptsChannel, made.script.id);
    });
  return {
    catalog,
    make,
    logged,
    db: folder.db,
    reads,
    forgotten,
    save,
    [Symbol.asyncDispose]: async () => {
      catalog.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function storedImports(tx: Tx, id: string): Promise<string[]> {
  const rows = await tx.all(
    sql<{ name: string }>`select name from script_imports where script_id = ${id}`,
  );
  return rows.map(({ name }) => name);
}
