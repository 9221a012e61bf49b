import { expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import {
  LIMIT_CEILINGS,
  LIMIT_DEFAULTS,
  LIMIT_FLOORS,
  LIMIT_NAMES,
  type ScriptLimits,
} from "../../src/domain/limits.ts";
import {
  checkLimits,
  checkScriptName,
  effectiveLimits,
  isImportable,
  reservedModuleNames,
} from "../../src/domain/scripts.ts";

function refusal(work: () => unknown): PicError {
  try {
    work();
  } catch (error) {
    if (error instanceof PicError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

test("no limits are fine, and every limit may stand at its floor and at its ceiling", () => {
  expect(checkLimits({}, LIMIT_CEILINGS)).toEqual({});
  expect(checkLimits({ ...LIMIT_FLOORS }, LIMIT_CEILINGS)).toEqual({ ...LIMIT_FLOORS });
  expect(checkLimits({ ...LIMIT_CEILINGS }, LIMIT_CEILINGS)).toEqual({ ...LIMIT_CEILINGS });
});

test.each(LIMIT_NAMES)("%s above its ceiling names the ceiling", (name) => {
  const error = refusal(() => checkLimits({ [name]: LIMIT_CEILINGS[name] + 1 }, LIMIT_CEILINGS));
  expect(error.code).toBe("limit_above_ceiling");
  expect(error.message).toContain(`limits.${name}`);
  expect(error.message).toContain(String(LIMIT_CEILINGS[name]));
  expect(error.details.errors?.map(({ path }) => path)).toEqual([`limits.${name}`]);
});

test("a ceiling that was lowered or raised is the one that counts", () => {
  const lowered: ScriptLimits = { ...LIMIT_CEILINGS, cpu_ms: 500 };
  expect(refusal(() => checkLimits({ cpu_ms: 501 }, lowered)).message).toContain("500");
  const raised: ScriptLimits = { ...LIMIT_CEILINGS, cpu_ms: 60_000 };
  expect(checkLimits({ cpu_ms: 60_000 }, raised)).toEqual({ cpu_ms: 60_000 });
});

test.each([
  ["0.5", 0.5],
  ["NaN", Number.NaN],
  ["infinity", Number.POSITIVE_INFINITY],
  ["a text", "100"],
  ["null", null],
  ["an object", { valueOf: (): number => 5 }],
  ["a bigint", 5n],
  ["too large to be exact", 2 ** 53],
])("a limit that is %s is invalid, and its field is named", (_title, value) => {
  const error = refusal(() => checkLimits({ memory_mb: value }, LIMIT_CEILINGS));
  expect(error.code).toBe("invalid");
  expect(error.details.errors).toEqual([
    { path: "limits.memory_mb", message: "must be a whole number" },
  ]);
});

test("below the floor and unknown names are invalid, also names that every object has", () => {
  expect(refusal(() => checkLimits({ cpu_ms: 0 }, LIMIT_CEILINGS)).code).toBe("invalid");
  expect(refusal(() => checkLimits({ log_kb: -1 }, LIMIT_CEILINGS)).code).toBe("invalid");
  for (const name of ["toString", "constructor", "__proto__", "cpu", "CPU_MS"]) {
    const limits = Object.fromEntries([[name, 5]]);
    expect(refusal(() => checkLimits(limits, LIMIT_CEILINGS)).message).toContain("no such limit");
  }
});

test("all problems are named at once, and an invalid value weighs more than a ceiling", () => {
  const error = refusal(() => checkLimits({ cpu_ms: 1e9, memory_mb: -1, x: 1 }, LIMIT_CEILINGS));
  expect(error.code).toBe("invalid");
  expect(error.details.errors?.map(({ path }) => path).sort()).toEqual([
    "limits.cpu_ms",
    "limits.memory_mb",
    "limits.x",
  ]);
});

test("an execution gets defaults for what was not set, and never more than a ceiling", () => {
  expect(effectiveLimits({}, LIMIT_CEILINGS)).toEqual({ ...LIMIT_DEFAULTS });
  expect(effectiveLimits({ cpu_ms: 7, log_kb: 0 }, LIMIT_CEILINGS)).toEqual({
    ...LIMIT_DEFAULTS,
    cpu_ms: 7,
    log_kb: 0,
  });
  const lowered = effectiveLimits(
    { cpu_ms: 9_000 },
    { ...LIMIT_CEILINGS, cpu_ms: 50, memory_mb: 8 },
  );
  expect(lowered).toMatchObject({ cpu_ms: 50, memory_mb: 8 });
});

test.each(["hello", "my script", "größe", "a:b (c)", "x".repeat(128), "kv", "picloud"])(
  "an endpoint may be called %s",
  (name) => {
    checkScriptName({ name, kind: "endpoint" });
  },
);

test.each(["", " a", "a ", "a\nb", "a\0", "x".repeat(129), "\ud800", "a\u202eb"])(
  "neither an endpoint nor a module may be called %j",
  (name) => {
    for (const kind of ["endpoint", "module"] as const) {
      const error = refusal(() => checkScriptName({ name, kind }));
      expect(error.code).toBe("invalid");
      expect(error.details.errors?.[0]?.path).toBe("name");
    }
  },
);

test.each(["labels", "_", "a1", "A".repeat(64), "__proto__", "constructor"])(
  "a module may be called %s, and be imported by that name",
  (name) => {
    checkScriptName({ name, kind: "module" });
    expect(isImportable(name)).toBe(true);
  },
);

test.each(["my-module", "1a", "a.b", "a b", "größe", "A".repeat(65), "./a", "node:fs", "@a/b"])(
  "a module may not be called %s, nor be imported",
  (name) => {
    expect(refusal(() => checkScriptName({ name, kind: "module" })).code).toBe("invalid");
    expect(isImportable(name)).toBe(false);
  },
);

test("names of the SDK are reserved for it", () => {
  expect([...reservedModuleNames]).toHaveLength(19);
  for (const name of reservedModuleNames) {
    expect(refusal(() => checkScriptName({ name, kind: "module" })).message).toContain("reserved");
  }
  expect(isImportable("picloud")).toBe(true);
});
