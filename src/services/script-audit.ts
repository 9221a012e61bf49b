/** What the audit trail shows of changes of scripts: names, versions and flags, never a source. */
import type { AuditedChange } from "../domain/audit.ts";
import type { Script } from "../domain/scripts.ts";

/** Which script. */
export function auditedScript({ id, name, app_id }: Script) {
  return { target: { kind: "script", id, name }, app_id };
}

/** @param copied the number of the version that a rollback copied; null: an update */
export function savedChange(before: Script, after: Script, copied: number | null): AuditedChange {
  const changed = (["kind", "description", "limits", "public_execute"] as const).filter(
    (member) => !Bun.deepEquals(before[member], after[member]),
  );
  return {
    action: copied === null ? "script.update" : "script.rollback",
    ...auditedScript(after),
    detail: {
      version: after.active_version,
      version_before: before.active_version,
      ...(copied === null ? {} : { version_copied: copied }),
      ...(before.name === after.name ? {} : { renamed_from: before.name }),
      ...(changed.length === 0 ? {} : { changed }),
      ...(before.public_execute === after.public_execute
        ? {}
        : { public_execute: after.public_execute }),
    },
  };
}
