/** From what an author typed to what a version keeps. */
import type { Actor } from "../domain/accounts.ts";
import { type FieldError, invalidField, PicError } from "../domain/errors.ts";
import { sourceBytesMax } from "../domain/limits.ts";
import {
  moduleShapeRule,
  type Script,
  type ScriptKind,
  type ScriptVersion,
} from "../domain/scripts.ts";
import type { CompileProblem, Compiler, ImportSite } from "../sandbox/api.ts";

export interface Compiled
  extends Pick<ScriptVersion, "source" | "code" | "source_map" | "imports" | "shape_rule"> {
  /** Where what is imported; empty when it was compiled for another version. */
  import_sites: ImportSite[];
  /** What the author should know; the source is saved all the same. */
  warnings: FieldError[];
}

/** Throws PicError `invalid` (too long), `invalid_source` (every problem with its position). */
export async function compileSource(
  compiler: Compiler,
  { name, kind, source }: { name: string; kind: ScriptKind; source: string },
): Promise<Compiled> {
  if (Buffer.byteLength(source) > sourceBytesMax) {
    throw invalidField("source", `must be at most ${sourceBytesMax} bytes long`);
  }
  const result = await compiler.compile({ name, kind, source });
  if (!result.ok) throw invalidSource(result.problems.map(atSource));
  const { code, source_map, imports, import_sites } = result;
  const warnings = result.warnings.map(atSource);
  const shape_rule = kind === "module" ? moduleShapeRule : 0;
  return { source, code, source_map, imports, import_sites, shape_rule, warnings };
}

/** A module that an older rule let pass: its source is compiled again before it is loaded. */
export function isOutdated({
  kind,
  shape_rule,
}: Pick<ScriptVersion, "kind" | "shape_rule">): boolean {
  return kind === "module" && shape_rule !== moduleShapeRule;
}

/** What a version keeps of it. @param now epoch ms */
export function newVersion(
  script: Script,
  compiled: Compiled,
  actor: Actor,
  now: number,
  number = 1,
): ScriptVersion {
  const { source, code, source_map, imports, shape_rule } = compiled;
  return {
    script_id: script.id,
    number,
    kind: script.kind,
    source,
    code,
    source_map,
    imports,
    shape_rule,
    created_at: now,
    created_by: actor.account_id,
  };
}

function invalidSource(errors: FieldError[]): PicError {
  const [first] = errors;
  const where = first?.line === undefined ? "" : ` (line ${first.line}, column ${first.column})`;
  return new PicError("invalid_source", `${first?.message ?? "The source is invalid"}${where}`, {
    errors,
  });
}

function atSource(problem: CompileProblem): FieldError {
  return { path: "source", ...problem };
}
