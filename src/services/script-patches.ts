/** What an update of a script changes, and what becomes of the script by it. */
import { PicError } from "../domain/errors.ts";
import type { LimitName, ScriptLimits } from "../domain/limits.ts";
import type { Script, ScriptKind } from "../domain/scripts.ts";

export interface ScriptPatch {
  name?: string;
  kind?: ScriptKind;
  source?: string;
  description?: string;
  /** Null takes a limit back to its default. */
  limits?: Partial<Record<LimitName, number | null>>;
  public_execute?: boolean;
  /** The active version the caller has seen. */
  if_version?: number;
}

/** The script with what is given, but for its version. */
export function patched(script: Script, patch: ScriptPatch): Script {
  return {
    ...script,
    name: patch.name ?? script.name,
    kind: patch.kind ?? script.kind,
    description: patch.description ?? script.description,
    limits: patchedLimits(script, patch),
    public_execute: patch.public_execute ?? script.public_execute,
  };
}

/** Only what is given is checked: a ceiling may have been lowered below what is stored. */
export function givenLimits(patch: ScriptPatch): Partial<ScriptLimits> {
  const given = Object.entries(patch.limits ?? {}).filter(([, value]) => value !== null);
  return Object.fromEntries(given) as Partial<ScriptLimits>;
}

/** Throws PicError `version_conflict` (with `active_version`). */
export function checkVersion(script: Script, expected: number | undefined): void {
  if (expected === undefined || expected === script.active_version) return;
  throw new PicError(
    "version_conflict",
    `The active version is ${script.active_version}, not ${expected}`,
    { extra: { active_version: script.active_version } },
  );
}

function patchedLimits(script: Script, patch: ScriptPatch): Partial<ScriptLimits> {
  const limits = { ...script.limits };
  for (const [name, value] of Object.entries(patch.limits ?? {})) {
    if (value === null) delete limits[name as LimitName];
    else limits[name as LimitName] = value;
  }
  return limits;
}
