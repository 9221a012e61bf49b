/** From what an author typed to what a version keeps. */
import { type FieldError, invalidField, PicError } from "../domain/errors.ts";
import { sourceBytesMax } from "../domain/limits.ts";
import type { ScriptVersion } from "../domain/scripts.ts";
import type { CompileProblem, Compiler } from "../sandbox/api.ts";

export type Compiled = Pick<ScriptVersion, "source" | "code" | "source_map" | "imports"> & {
  /** What the author should know; the source is saved all the same. */
  warnings: FieldError[];
};

/** Throws PicError `invalid` (too long), `invalid_source` (every problem with its position). */
export async function compileSource(
  compiler: Compiler,
  name: string,
  source: string,
): Promise<Compiled> {
  if (Buffer.byteLength(source) > sourceBytesMax) {
    throw invalidField("source", `must be at most ${sourceBytesMax} bytes long`);
  }
  const result = await compiler.compile({ name, kind: "endpoint", source });
  if (!result.ok) throw invalidSource(result.problems.map(atSource));
  const { code, source_map, imports } = result;
  const warnings = [...result.warnings.map(atSource), ...importWarnings(imports)];
  return { source, code, source_map, imports, warnings };
}

/** An import that does not exist yet is saved; running it fails until it does. */
export function importWarnings(imports: readonly string[]): FieldError[] {
  return imports
    .filter((specifier) => specifier !== "picloud")
    .map((specifier) => ({
      path: "source",
      message: `The import "${specifier}" does not exist; running this script will fail`,
    }));
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
