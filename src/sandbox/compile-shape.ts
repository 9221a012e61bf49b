/**
 * What a script must look like beyond syntax, judged on its compiled code, where types are gone and
 * the default export has one form. A second parser (acorn) reads that code: it also finds what Bun
 * lets through and the engine would refuse, such as broken regular expressions.
 */
import type { AnyNode, Expression, Identifier, ImportExpression, Program } from "acorn";
import { parse } from "acorn";
import { compileProblemsMax, importsMax } from "../domain/limits.ts";
import {
  isImportable,
  reservedModuleNames,
  type ScriptKind,
  sdkModuleName,
} from "../domain/scripts.ts";
import type { CompileProblem, ImportSite } from "./api.ts";
import { topLevelProblems } from "./compile-top-level.ts";

export interface ShapeInput {
  code: string;
  /** Where the author's code begins; before it stand only the bundler's own functions. */
  bodyStart: number;
  kind: ScriptKind;
  /** The folder of the virtual file, as the bundler writes it for `__dirname`. */
  virtualDir: string;
  /** The author's position of an offset in `code`; null for what the bundler added. */
  locate: (offset: number) => { line: number; column: number } | null;
  /** The word that begins at that position; empty where none does. */
  wordAt: (offset: number) => string;
}

export interface Shape {
  problems: CompileProblem[];
  warnings: CompileProblem[];
  /** What is imported, statically or by `import("literal")`: sorted, each once. */
  imports: ImportSite[];
}

/** What is said of a source that exhausts the stack of a parser. */
export const tooDeep = "Nested too deeply to be compiled";

const START = { line: 1, column: 1 };

/** Checks the shape. Never throws for what the code holds. */
export function checkShape(input: ShapeInput): Shape {
  const parsed = parseCode(input);
  if ("message" in parsed) return { problems: [parsed], warnings: [], imports: [] };
  const checker = new ShapeChecker(input);
  checker.checkStatements(parsed);
  checker.checkExpressions(parsed);
  if (input.kind === "module") checker.checkTopLevel(parsed);
  if (input.kind === "endpoint" && checker.problems.length === 0) checker.checkDefault(parsed);
  return {
    problems: checker.problems,
    warnings: checker.warnings,
    imports: checker.importSites(),
  };
}

// ---------------------------------------------------------------------------------------------

function parseCode(input: ShapeInput): Program | CompileProblem {
  try {
    return parse(input.code, { ecmaVersion: "latest", sourceType: "module" });
  } catch (error) {
    // a deep regular expression ends in a SyntaxError that speaks of the stack
    if (
      error instanceof RangeError ||
      (error instanceof SyntaxError && /stack/.test(error.message))
    ) {
      return { message: tooDeep, ...START };
    }
    if (!(error instanceof SyntaxError) || !("pos" in error)) throw error;
    // acorn's messages end in the position within the compiled code
    const message = error.message.replace(/ \(\d+:\d+\)$/, "");
    return { message, ...(input.locate(Number(error.pos)) ?? START) };
  }
}

class ShapeChecker {
  readonly problems: CompileProblem[] = [];
  readonly warnings: CompileProblem[] = [];
  readonly #imports = new Map<string, { line: number; column: number }>();
  readonly #helpers: string;

  constructor(private readonly input: ShapeInput) {
    this.#helpers = input.code.slice(0, input.bodyStart);
  }

  importSites(): ImportSite[] {
    const sites = [...this.#imports].map(([specifier, at]) => ({ specifier, ...at }));
    return sites.sort((a, b) => (a.specifier < b.specifier ? -1 : 1));
  }

  /** What a module may not have at its top level. */
  checkTopLevel(program: Program): void {
    const { bodyStart, wordAt } = this.input;
    const body = program.body.filter((node) => node.start >= bodyStart);
    for (const { node, message } of topLevelProblems(body, wordAt)) {
      this.#refuse(message, node.start);
    }
  }

  /** Static imports, which stand at the top level alone. */
  checkStatements(program: Program): void {
    for (const node of program.body) {
      if (
        node.type === "ImportDeclaration" ||
        node.type === "ExportAllDeclaration" ||
        node.type === "ExportNamedDeclaration"
      ) {
        const specifier = node.source?.value;
        if (typeof specifier === "string") this.#addImport(specifier, node.start);
      }
    }
    if (this.#hasHelper("__commonJS")) this.#checkCommonJs(program);
  }

  /** What may stand anywhere. Most scripts have none of it, and are not walked. */
  checkExpressions(program: Program): void {
    const { code, bodyStart, virtualDir } = this.input;
    const hasRequire = this.#hasHelper("__require");
    const hasPaths = code.includes(virtualDir, bodyStart);
    if (!hasRequire && !hasPaths && !/\bimport\s*[.(]/.test(code)) return;
    walk(program, (node) => {
      if (node.start < bodyStart) return;
      if (node.type === "ImportExpression") this.#checkDynamicImport(node);
      else if (node.type === "MetaProperty" && node.meta.name === "import") {
        this.#warn("import.meta is empty in a script", node.start);
      } else if (node.type === "Identifier") {
        if (hasRequire && node.name === "__require") {
          this.#refuse("require is not available: use import", node.start);
        } else if (hasPaths && /^__(?:dir|file)name$/.test(node.name) && this.#isUse(node)) {
          this.#refuse(`${node.name} does not exist: a script is not a file`, node.start);
        }
      }
    });
  }

  /** An endpoint exports what can be called. Only what is evident is refused. */
  checkDefault(program: Program): void {
    const exported = defaultExport(program);
    const value = exported === null ? null : resolve(program, exported);
    // the bundler gives an empty file an empty object as its default export
    const isAdded = value?.type === "ObjectExpression" && this.input.locate(value.start) === null;
    if (exported === null || isAdded) {
      const message = "An endpoint needs a default export: export default function (ctx) { … }";
      this.problems.push({ message, ...START });
      return;
    }
    const what = notCallable(value);
    if (what === null) return;
    this.#refuse(`The default export must be a function, not ${what}`, exported.at);
  }

  #checkDynamicImport(node: ImportExpression): void {
    if (node.source.type !== "Literal" || typeof node.source.value !== "string") {
      this.#refuse('import() takes a literal text: import("name")', node.start);
    } else if (node.options !== null && node.options !== undefined) {
      this.#refuse("Import attributes (with { … }) are not supported", node.options.start);
    } else {
      this.#addImport(node.source.value, node.start);
    }
  }

  #addImport(specifier: string, at: number): void {
    if (this.#imports.has(specifier)) return;
    if (!isImportable(specifier)) {
      this.#refuse(
        `Cannot import ${JSON.stringify(specifier.slice(0, 100))}: ` +
          `only "${sdkModuleName}" and modules of the same app, by their names`,
        at,
      );
      return;
    }
    this.#imports.set(specifier, this.input.locate(at) ?? START);
    if (this.#imports.size === importsMax + 1) {
      this.#refuse(`A script may import ${importsMax} modules at most`, at);
    }
    if (specifier !== sdkModuleName && reservedModuleNames.has(specifier)) {
      this.#warn(
        `"${specifier}" is a name of the SDK: import { ${specifier} } from "${sdkModuleName}"`,
        at,
      );
    }
  }

  #checkCommonJs(program: Program): void {
    let at: number | null = null;
    walk(program, (node) => {
      if (at !== null || node.start < this.input.bodyStart) return;
      if (node.type === "MemberExpression" && node.object.type === "Identifier") {
        const { name } = node.object;
        if (name === "module" || name === "exports") at = node.start;
      }
    });
    this.#refuse("CommonJS is not supported: use import and export", at ?? this.input.bodyStart);
  }

  /** The bundler declares __dirname itself, with the virtual folder as its value. */
  #isUse(node: Identifier): boolean {
    return !this.input.code.startsWith(" = ", node.end);
  }

  #hasHelper(name: string): boolean {
    return this.#helpers.includes(`var ${name} =`);
  }

  #refuse(message: string, offset: number): void {
    if (this.problems.length >= compileProblemsMax) return;
    this.problems.push({ message, ...(this.input.locate(offset) ?? START) });
  }

  #warn(message: string, offset: number): void {
    if (this.warnings.length >= compileProblemsMax) return;
    this.warnings.push({ message, ...(this.input.locate(offset) ?? START) });
  }
}

/** What stands behind `export … as default`: a name, or a whole expression. */
interface DefaultExport {
  /** The name of a top-level variable, function or class; null when it comes from elsewhere. */
  name: string | null;
  value: AnyNode | null;
  at: number;
}

function defaultExport(program: Program): DefaultExport | null {
  for (const node of program.body) {
    if (node.type === "ExportDefaultDeclaration") {
      return { name: null, value: node.declaration, at: node.start };
    }
    if (node.type !== "ExportNamedDeclaration") continue;
    for (const { exported, local } of node.specifiers) {
      const alias = exported.type === "Identifier" ? exported.name : exported.value;
      if (alias !== "default") continue;
      const isLocal = local.type === "Identifier" && !node.source;
      return { name: isLocal ? local.name : null, value: null, at: node.start };
    }
  }
  return null;
}

/** The one value that the default export can have, or null. Also moves `at` to where it is declared. */
function resolve(program: Program, exported: DefaultExport): AnyNode | null {
  let { name, value } = exported;
  // `export default handler` becomes a variable that holds `handler`: follow names, a few steps
  for (let steps = 0; name !== null && steps < 4; steps += 1) {
    value = declarationOf(program, name);
    if (value === null || isAssigned(program, name)) return null;
    if (steps === 0) exported.at = value.start;
    name = value.type === "Identifier" && value.name !== "undefined" ? value.name : null;
  }
  return value;
}

function declarationOf(program: Program, name: string): AnyNode | null {
  for (const node of program.body) {
    if (node.type === "FunctionDeclaration" || node.type === "ClassDeclaration") {
      if (node.id?.name === name) return node;
    }
    if (node.type !== "VariableDeclaration") continue;
    for (const { id, init } of node.declarations) {
      if (id.type === "Identifier" && id.name === name) return init ?? null;
    }
  }
  return null;
}

function isAssigned(program: Program, name: string): boolean {
  let found = false;
  walk(program, (node) => {
    if (node.type === "AssignmentExpression" && node.left.type === "Identifier") {
      found ||= node.left.name === name;
    } else if (node.type === "AssignmentExpression" && node.left.type !== "MemberExpression") {
      found = true; // a pattern: not worth looking into
    }
  });
  return found;
}

const NOT_CALLABLE: Partial<Record<AnyNode["type"], string>> = {
  ObjectExpression: "an object",
  ArrayExpression: "an array",
  TemplateLiteral: "a text",
  ClassDeclaration: "a class",
  ClassExpression: "a class",
  UnaryExpression: "a value",
  BinaryExpression: "a value",
  NewExpression: "an instance",
};

/** What it is instead of a function, or null when it may be one. */
function notCallable(node: AnyNode | null): string | null {
  if (node === null) return null;
  if (node.type === "Literal") return literalName(node);
  if (node.type === "Identifier" && node.name === "undefined") return "undefined";
  if (node.type === "NewExpression" && isFunctionMaker(node.callee)) return null;
  return NOT_CALLABLE[node.type] ?? null;
}

function literalName(node: AnyNode & { type: "Literal" }): string {
  if (node.value === null && !node.regex) return "null";
  if (node.regex) return "a regular expression";
  return { string: "a text", number: "a number" }[String(typeof node.value)] ?? "a value";
}

/** `new Function(…)` and `new Proxy(…)` make what can be called; so may a class of the author's. */
function isFunctionMaker(callee: Expression): boolean {
  return callee.type !== "Identifier" || !/^(?:Map|Set|Date|URL|Array|Object)$/.test(callee.name);
}

/** Visits every node. Iterative: the code of a script can be nested deeper than the stack is. */
function walk(root: Program, visit: (node: AnyNode) => void): void {
  const open: AnyNode[] = [root];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    visit(node);
    const firstChild = open.length;
    for (const value of Object.values(node)) {
      for (const child of Array.isArray(value) ? value : [value]) {
        if (isNode(child)) open.push(child);
      }
    }
    // the first child is taken next, so that problems come in the order of the text
    reverseFrom(open, firstChild);
  }
}

function reverseFrom(nodes: AnyNode[], start: number): void {
  for (let low = start, high = nodes.length - 1; low < high; low += 1, high -= 1) {
    const node = nodes[low] as AnyNode;
    nodes[low] = nodes[high] as AnyNode;
    nodes[high] = node;
  }
}

function isNode(value: unknown): value is AnyNode {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}
