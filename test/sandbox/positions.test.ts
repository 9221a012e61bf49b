/**
 * Errors of the real engine, mapped: TypeScript is compiled, run in QuickJS as the sandbox runs it (a
 * module named after the script), and the stack that comes out is compared with the author's text.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import variant from "@jitl/quickjs-wasmfile-release-sync";
import type { QuickJSContext, QuickJSWASMModule } from "quickjs-emscripten";
import { newQuickJSWASMModuleFromVariant } from "quickjs-emscripten";
import type { GuestError } from "../../src/domain/executions.ts";
import { stackCharsMax, stackLinesMax } from "../../src/domain/limits.ts";
import { compileSource } from "../../src/sandbox/compile.ts";
import { createPositionMapper } from "../../src/sandbox/positions.ts";

let engine: QuickJSWASMModule;
const contexts: QuickJSContext[] = [];

beforeAll(async () => {
  engine = await newQuickJSWASMModuleFromVariant(variant);
});

afterAll(() => {
  for (const context of contexts) context.dispose();
});

interface Compiled {
  code: string;
  source_map: string;
}

async function compiled(
  source: string,
  kind: "endpoint" | "module" = "endpoint",
): Promise<Compiled> {
  const result = await compileSource({ name: "sample", kind, source });
  if (!result.ok) throw new Error(`${JSON.stringify(result.problems)}\n${source}`);
  return result;
}

/** Calls the default export of `entry` and gives the error that it ends with. */
function runToError(entry: string, modules: Record<string, Compiled>): GuestError {
  const context = engine.newContext();
  contexts.push(context);
  context.runtime.setModuleLoader(
    (name) => modules[name]?.code ?? { error: new Error(`no module ${name}`) },
  );
  context
    .unwrapResult(
      context.evalCode(
        `import(${JSON.stringify(entry)})
           .then((module) => module.default({ items: [1, 2, 3], missing: undefined }))
           .catch(({ name, message, stack }) => {
             globalThis.failure = JSON.stringify({ name, message, stack });
           });`,
        "<driver>",
        { type: "module" },
      ),
    )
    .dispose();
  context.runtime.executePendingJobs();
  const failure = context.getProp(context.global, "failure");
  const text = context.dump(failure);
  failure.dispose();
  if (typeof text !== "string") throw new Error("the script did not throw");
  return JSON.parse(text);
}

async function mappedError(source: string, name = "my script"): Promise<GuestError> {
  const script = await compiled(source);
  return createPositionMapper().mapError(runToError(name, { [name]: script }), (moduleName) =>
    moduleName === name ? script.source_map : null,
  );
}

/** `line:column` of each frame of `file`, innermost first. */
function framesOf(error: GuestError, file = "my script"): string[] {
  return error.stack
    .split("\n")
    .filter((line) => line.includes(`${file}:`))
    .map((line) => /(\d+:\d+)\)?$/.exec(line)?.[1] ?? line);
}

/** Where `text` stands in `source`, as `line:column` (1-based, UTF-16 units). */
function whereIs(source: string, text: string): string {
  const before = source.slice(0, source.indexOf(text)).split(/\r\n|\n/);
  return `${before.length}:${(before.at(-1) ?? "").length + 1}`;
}

// § marks a place for a statement, ¤ one for an expression
const SAMPLES: Record<string, string> = {
  "types, enums and blank lines": `// a comment
/* another
   of two lines */
interface Item { readonly id: number; name?: string }

type Pair<A, B = string> = {
  [key in "a" | "b"]: A | B;
};
enum Colour {
  Red,
  Green = "green",
}
const enum Small { One = 1 }

declare const unknownThing: number;
export default async function handler(ctx: { items: number[] }): Promise<unknown> {
  §
  const item: Item = { id: Small.One };   // trailing
  §

  // before a blank line

  const pair = { a: 1, b: Colour.Green } satisfies Pair<number>; §
  await null;
  §
  const total = ctx.items
    .map((value: number): number => ¤ value * 2)
    .filter((value) => value > ¤ 0)
    .reduce(
      (sum, value) => sum + value,
      ¤ 0,
    );
  if (total > 100)
    return 1;
  else {
    §
  }
  return [item, pair as unknown, ¤ total];
}
`,
  "classes, getters and closures": `abstract class Base<T> {
  protected constructor(private readonly value: T, public other = ¤ 1) {
    §
  }
  abstract read(): T;
  get current(): T { § return this.value }
}

class Real extends Base<number> {
  static count: number = ¤ 0;
  #hidden = ¤ 3;
  constructor() { super(¤ 1); § }
  override read(): number {
    §
    return this.current + this.#hidden;
  }
}

export default (ctx: any) => {
  const real = new Real();
  const outer = () => {
    function inner(this: void, shade = ¤ 1) {
      §
      return real.read() + shade;
    }
    return inner();
  };
  for (const item of ctx.items) {
    §
    try { outer(); } finally { § }
  }
  switch (ctx.items.length) {
    case 3: {
      §
    }
  }
  return \`\${¤ 1} and \${outer()}\`;
};
`,
  "wide characters": `const größe = "ä😀漢"; const 漢字 = 1;
export default function (ctx: any) {
  const a = "😀😀", b = /[ä]/u.test("😀"); §
  const c = \`😀 \${¤ a} 😀 \${¤ b}\`; §
  /* 😀 */ § /* 漢 */
  return [a, b, c, größe, 漢字, "é".normalize(), ¤ 2];
}
`,
  "decorators and namespaces": `function noted(target: any, _context: unknown) { § return target }
namespace Inner {
  export const two: number = 2;
  export function three() { § return ¤ 3 }
}
export default function () {
  class Local { @noted read() { § return Inner.two } }
  §
  return new Local().read() + ¤ Inner.three();
}
`,
};

interface Variant {
  source: string;
  expected: string;
}

/** One variant of a sample for each of its marks, with what throws there. */
function variantsOf(sample: string): Variant[] {
  const marks = [...sample.matchAll(/[§¤]/g)].map((match) => match.index);
  return marks.map((mark) => {
    const isStatement = sample[mark] === "§";
    const thrower = isStatement ? 'throw new RangeError("here");' : "boom() +";
    const source = `${blank(sample.slice(0, mark))}${thrower}${blank(sample.slice(mark + 1))}
function boom(): any { throw new RangeError("here") }\n`;
    return { source, expected: whereIs(source, isStatement ? "RangeError" : "boom() +") };
  });
}

function blank(text: string): string {
  return text.replaceAll(/[§¤]/g, "");
}

for (const [title, sample] of Object.entries(SAMPLES)) {
  test(`a throw or a call at every place has the author's line and column: ${title}`, async () => {
    for (const { source, expected } of variantsOf(sample)) {
      expect([source, framesOf(await mappedError(source))]).toEqual([
        source,
        expect.arrayContaining([expected]),
      ]);
    }
  });

  test(`… also with CR LF line ends: ${title}`, async () => {
    for (const { source, expected } of variantsOf(sample)) {
      const error = await mappedError(source.replaceAll("\n", "\r\n"));
      expect([source, framesOf(error)]).toEqual([source, expect.arrayContaining([expected])]);
    }
  });
}

test("the innermost frame is where it was thrown, and each caller has its own place", async () => {
  const source = `interface Nothing { a: 1 }
function third(): never {
  throw new TypeError("deep");
}
const second = () => third();

export default async function (ctx: any) {
  await null;
  return ctx.items.map(() => second());
}`;
  const error = await mappedError(source);
  expect(error).toMatchObject({ name: "TypeError", message: "deep" });
  expect(framesOf(error)).toEqual(["3:13", "5:22", "9:30", "9:20"]);
  expect(error.stack).toContain("at third (my script:3:13)");
  expect(error.stack).toContain("at default (my script:9:20)");
  expect(error.stack).toContain("(native)");
});

test("reading from undefined points at what was undefined", async () => {
  const source = "export default (ctx: any) => {\n\n  return ctx.missing.name;\n};";
  expect(framesOf(await mappedError(source))).toEqual([whereIs(source, "missing")]);
});

test("an undeclared name, a call of what is no function, a rethrown error", async () => {
  const undeclared = "type A = 1;\nexport default () => {\n  nowhere(1);\n}";
  expect(framesOf(await mappedError(undeclared))).toEqual([whereIs(undeclared, "nowhere")]);
  const notCallable = "export default (ctx: any) => {\n  ctx.missing2();\n}";
  expect(framesOf(await mappedError(notCallable))).toEqual([whereIs(notCallable, "missing2")]);
  const rethrown =
    "export default () => {\n  try { throw new Error('a') }\n  catch (e) { throw e }\n}";
  expect(framesOf(await mappedError(rethrown))[0]).toBe(whereIs(rethrown, "Error"));
});

test("frames of an imported module are those of its own source", async () => {
  const entry = await compiled(
    'import { fail } from "labels";\n\nexport default () => {\n  fail();\n};',
  );
  const labels = await compiled(
    "type A = 1;\n\n\nexport function fail() { throw new Error('x') }",
    "module",
  );
  const error = runToError("my script", { "my script": entry, labels });
  const mapped = createPositionMapper().mapError(error, (name) => {
    return { "my script": entry.source_map, labels: labels.source_map }[name] ?? null;
  });
  expect(mapped.stack).toContain("at fail (labels:4:36)");
  expect(mapped.stack).toContain("at default (my script:4:3)");
});

test.each(["a:b", "x (y)", "at (me:1:2)", "…", "漢字 😀", "a (native)", ") (", "1:2", "<eval>"])(
  "a script may be called %s",
  async (name) => {
    const source = "// one\nexport default function () {\n  throw new Error('x');\n}";
    const { stack } = await mappedError(source, name);
    expect(stack).toContain(`at default (${name}:3:13)`);
  },
);

test("a function's name may hold what looks like a place", async () => {
  const source =
    'export default () => ({ "f (my script:9:9)": () => {\n throw new Error("x") } })["f (my script:9:9)"]();';
  const { stack } = await mappedError(source);
  expect(stack).toContain("at f (my script:9:9) (my script:2:12)");
});

test("the compiler's own functions are called that, and have no made-up line", async () => {
  const source = "export default () => {\n  using held = 5 as any;\n  return held;\n};";
  const { stack } = await mappedError(source);
  expect(stack).toContain("(my script, generated code)");
  expect(framesOf({ name: "", message: "", stack })).toHaveLength(1);
});

// ---------------------------------------------------------------------------------------------
// the text of a stack is the guest's

function mapStack(stack: string, maps: (name: string) => string | null): string {
  return createPositionMapper().mapError({ name: "E", message: "m", stack }, maps).stack;
}

const identity = JSON.stringify({
  version: 3,
  sources: ["script.ts"],
  names: [],
  mappings: "AAAA,IAAI;AACA",
});

test("what is no frame of a known module stays as it is", () => {
  const stack = [
    "    at forEach (native)",
    "    at <eval> (<driver>:1:2)",
    "    at <input>:1:2",
    "something else",
    "",
    "    at",
    "    at :1:2",
    "    at  (:1:2)",
  ].join("\n");
  expect(mapStack(stack, (name) => (name === "script" ? identity : null))).toBe(stack);
});

test("an error keeps its other members", () => {
  const error: GuestError = { name: "E", message: "m at script:1:1", stack: "", code: "kv_x" };
  expect(createPositionMapper().mapError(error, () => identity)).toEqual(error);
});

test.each([
  ["none", null],
  ["empty", ""],
  ["no JSON", "{"],
  ["null", "null"],
  ["a number", "5"],
  ["wrong members", '{"version":3,"sources":5,"mappings":{}}'],
  ["broken mappings", '{"version":3,"sources":["a"],"names":[],"mappings":"!!!!"}'],
  ["endless numbers", `{"version":3,"sources":["a"],"names":[],"mappings":"${"g".repeat(1000)}"}`],
  ["no mappings", '{"version":3,"sources":[],"names":[],"mappings":""}'],
])("a map that is %s never throws, and frames stay readable", (_title, map) => {
  const stack = "    at f (script:3:5)\n    at script:4:6";
  const mapped = mapStack(stack, () => map);
  expect(mapped).toMatch(/^ {4}at f \(script[:,].*\)\n {4}at script[:,]/);
});

test("a source of maps that throws is a map that is missing", () => {
  const stack = "    at f (script:3:5)";
  const throwing = () => {
    throw new Error("no database");
  };
  expect(mapStack(stack, throwing)).toBe(stack);
});

test("positions beyond the code, and absurd numbers, end as generated code", () => {
  for (const place of ["999:1", "999999999:999999999", "0:0"]) {
    const mapped = mapStack(`    at f (script:${place})`, () => identity);
    expect(mapped).toMatch(/^ {4}at f \(script(:1:1|, generated code)\)$/);
  }
  const tooLong = `    at f (script:${"9".repeat(50)}:1)`;
  expect(mapStack(tooLong, (name) => (name === "script" ? identity : null))).toBe(tooLong);
});

test("a stack has a largest length and number of lines", () => {
  const lines = mapStack("    at f (script:1:1)\n".repeat(10_000), () => identity).split("\n");
  expect(lines).toHaveLength(stackLinesMax + 1);
  expect(lines.at(-1)).toBe("    …");
  expect(mapStack("x".repeat(10_000_000), () => identity).length).toBeLessThan(stackCharsMax + 10);
});

test("hostile lines take no time", () => {
  const started = performance.now();
  for (const line of [
    `    at ${" (".repeat(15_000)}:1:1)`,
    `    at ${":1".repeat(15_000)}`,
    `    at ${":1:1)".repeat(6_000)}`,
    `${" ".repeat(30_000)}at`,
    `    at ${"9".repeat(30_000)}:1:1`,
  ]) {
    mapStack(line, () => null);
  }
  expect(performance.now() - started).toBeLessThan(500);
});

test("a map is asked for once an error, and decoded once for all", () => {
  const mapper = createPositionMapper();
  let asked = 0;
  const maps = () => {
    asked += 1;
    return identity;
  };
  const error = { name: "E", message: "m", stack: "    at f (script:1:1)\n    at g (script:2:1)" };
  const started = performance.now();
  for (let i = 0; i < 1_000; i += 1) mapper.mapError(error, maps);
  expect(asked).toBe(1_000);
  expect(performance.now() - started).toBeLessThan(500);
});
