/** Scripts: their shape, and the rules for their names and limits. */
import { type FieldError, invalidField, PicError } from "./errors.ts";
import { LIMIT_DEFAULTS, LIMIT_FLOORS, LIMIT_NAMES, type ScriptLimits } from "./limits.ts";
import { checkName } from "./names.ts";

export type ScriptKind = "endpoint" | "module";

/** A script: a name in an app, whose behaviour is its active version. Times are epoch milliseconds. */
export interface Script {
  id: string;
  app_id: string;
  name: string;
  kind: ScriptKind;
  description: string;
  /** Only what the author set; the rest are defaults. */
  limits: Partial<ScriptLimits>;
  public_execute: boolean;
  active_version: number;
  created_at: number;
  updated_at: number;
}

/** One immutable save of a script's source, with what it compiled to. */
export interface ScriptVersion {
  script_id: string;
  number: number;
  kind: ScriptKind;
  source: string;
  /** The compiled JavaScript, an ES module. */
  code: string;
  /** Source map v3 of `code` as JSON text, without sourcesContent. */
  source_map: string;
  /** Specifiers of the static imports, sorted. */
  imports: string[];
  /** The rule that the shape of a module's top level was checked by (`moduleShapeRule`); 0: none. */
  shape_rule: number;
  created_at: number;
  /** Account id, or null for the system. */
  created_by: string | null;
}

/**
 * Which rule the compiler judges the top level of modules by. Raised when it refuses more: versions
 * that an older one let pass are not loaded until they are saved again.
 */
export const moduleShapeRule = 1;

/** The module that every script may import: the SDK. */
export const sdkModuleName = "picloud";

/** What a module of an app may be called, and so what a script may import. */
export const moduleNamePattern = /^[a-zA-Z_][a-zA-Z0-9_]{0,63}$/;

/** Parts of the SDK, now or later. A module of such a name would be mistaken for them. */
export const reservedModuleNames: ReadonlySet<string> = new Set([
  sdkModuleName,
  ...["kv", "docs", "dead_letters", "log", "regex", "random", "time", "json", "base64", "hex"],
  ...["url", "http", "files", "pubsub", "secrets", "email", "users", "queue"],
]);

/** Throws PicError `invalid` (path `name`): modules are imported by name, so theirs are narrower. */
export function checkScriptName(script: { name: string; kind: ScriptKind }): void {
  const { name, kind } = script;
  checkName("name", name);
  if (kind !== "module") return;
  if (!moduleNamePattern.test(name)) {
    throw invalidField(
      "name",
      "a module's name is a letter or _, then letters, digits and _, at most 64 in all",
    );
  }
  if (reservedModuleNames.has(name)) {
    throw invalidField("name", `"${name}" is reserved for the SDK`);
  }
}

/** True for what `import` may name: the SDK, or what a module can be called. */
export function isImportable(specifier: string): boolean {
  return specifier === sdkModuleName || moduleNamePattern.test(specifier);
}

/**
 * The limits an author set, checked. All problems are named at once, with paths such as
 * `limits.cpu_ms`. Throws PicError `invalid` for an unknown name, a value that is no whole number or
 * is below the floor; `limit_above_ceiling` when only ceilings are broken.
 */
export function checkLimits(
  limits: Readonly<Record<string, unknown>>,
  ceilings: Readonly<ScriptLimits>,
): Partial<ScriptLimits> {
  const checked: Partial<ScriptLimits> = {};
  const invalid: FieldError[] = [];
  const above: FieldError[] = [];
  for (const [name, value] of Object.entries(limits)) {
    const path = `limits.${name}`;
    if (!isLimitName(name)) {
      invalid.push({
        path,
        message: `there is no such limit; there are ${LIMIT_NAMES.join(", ")}`,
      });
    } else if (typeof value !== "number" || !Number.isSafeInteger(value)) {
      invalid.push({ path, message: "must be a whole number" });
    } else if (value < LIMIT_FLOORS[name]) {
      invalid.push({ path, message: `must be at least ${LIMIT_FLOORS[name]}` });
    } else if (value > ceilings[name]) {
      above.push({ path, message: `${value} is above the ceiling of ${ceilings[name]}` });
    } else {
      checked[name] = value;
    }
  }
  const [problem] = invalid.length > 0 ? invalid : above;
  if (problem === undefined) return checked;
  throw new PicError(
    invalid.length > 0 ? "invalid" : "limit_above_ceiling",
    `${problem.path}: ${problem.message}`,
    { errors: [...invalid, ...above] },
  );
}

/** All six limits that an execution gets: never above a ceiling that was lowered since the save. */
export function effectiveLimits(
  limits: Readonly<Partial<ScriptLimits>>,
  ceilings: Readonly<ScriptLimits>,
): ScriptLimits {
  const effective = { ...LIMIT_DEFAULTS };
  for (const name of LIMIT_NAMES) {
    effective[name] = Math.min(limits[name] ?? LIMIT_DEFAULTS[name], ceilings[name]);
  }
  return effective;
}

function isLimitName(name: string): name is keyof ScriptLimits {
  return Object.hasOwn(LIMIT_DEFAULTS, name);
}
