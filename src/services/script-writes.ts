/**
 * What a save writes of a script, with its entry in the audit trail: for whoever has locked the imports of
 * the app in this transaction, and judges there what the script imports (imports.ts).
 */
import type { Actor } from "../domain/accounts.ts";
import type { Script, ScriptVersion } from "../domain/scripts.ts";
import { scriptsChannel } from "../execution/scripts.ts";
import type { Database, Tx } from "../storage/port.ts";
import { deleteScript, insertScript, insertVersion, updateScript } from "../storage/scripts.ts";
import type { Audit } from "./audit.ts";
import { auditedScript, savedChange } from "./script-audit.ts";

export interface ScriptWriter {
  db: Database;
  audit: Audit;
  actor: Actor;
}

/** With its first version. Throws PicError `conflict` when the app has a script of that name. */
export async function addScript(
  tx: Tx,
  { db, audit, actor }: ScriptWriter,
  { script, version }: { script: Script; version: ScriptVersion },
): Promise<void> {
  await insertScript(tx, script);
  await insertVersion(tx, version);
  await db.notify(tx, scriptsChannel, script.id);
  const { kind, public_execute } = script;
  const detail = { kind, version: version.number, public_execute };
  await audit.record(tx, actor, { action: "script.create", ...auditedScript(script), detail });
}

export interface ScriptSave {
  before: Script;
  after: Script;
  /** Null: the active one stays. */
  version: ScriptVersion | null;
  /** The number of the version that a rollback copies; null: an update. */
  copied: number | null;
}

export async function changeScript(
  tx: Tx,
  { db, audit, actor }: ScriptWriter,
  { before, after, version, copied }: ScriptSave,
): Promise<void> {
  if (version !== null) await insertVersion(tx, version);
  await updateScript(tx, after);
  await db.notify(tx, scriptsChannel, after.id);
  await audit.record(tx, actor, savedChange(before, after, copied));
}

/** With its versions, routes and triggers. Resolves false when there was none. */
export async function dropScript(
  tx: Tx,
  { db, audit, actor }: ScriptWriter,
  script: Script,
): Promise<boolean> {
  if (!(await deleteScript(tx, script.id))) return false;
  await db.notify(tx, scriptsChannel, script.id);
  const detail = { kind: script.kind, version: script.active_version };
  await audit.record(tx, actor, { action: "script.delete", ...auditedScript(script), detail });
  return true;
}
