/**
 * Bundling must not run what it bundles. Bun's bundler does: functions that a file imports
 * `with { type: "macro" }`, or from "macro:…", are called in this process, with all its rights. There is
 * no option against it, but Bun refuses it for a file of a package below `node_modules/`. So each file
 * of the author's own that could hold a macro is first compiled as such a file, from memory and alone.
 */

/** Below a device: no tsconfig.json or package.json is found near it. */
const virtualFile = "/dev/null/node_modules/script/checked";
let isProven = false;

/**
 * What is wrong with a file that is about to be bundled: macros, or that it does not compile. Null when
 * there is nothing.
 * @param extension of the file, with its dot
 */
export async function macroProblem(text: string, extension: string): Promise<string | null> {
  if (!isProven) await prove();
  return compileAlone(text, extension);
}

/** Whether a text could hold a macro at all: the word, or escapes that may spell it. */
export function mayHoldMacro(text: string): boolean {
  return /macro|\\/.test(text);
}

/** Throws when this Bun would run a macro: then nothing is bundled. */
async function prove(): Promise<void> {
  const body = "export default () => hostname();";
  const forms = [
    `import { hostname } from "node:os" with { type: "macro" };\n${body}`,
    `import { hostname } from "macro:node:os";\n${body}`,
  ];
  for (const form of forms) {
    if ((await compileAlone(form, ".ts")) !== noMacros) {
      throw new Error("this runtime would execute macros while it bundles");
    }
  }
  isProven = true;
}

const noMacros = "macros are code that runs while bundling: pic runs none";

async function compileAlone(text: string, extension: string): Promise<string | null> {
  const path = `${virtualFile}${extension}`;
  const built = await Bun.build({
    entrypoints: [path],
    files: { [path]: text },
    external: ["*"],
    packages: "external",
    env: "disable",
    target: "browser",
    throw: false,
  });
  const errors = built.logs.filter(({ level }) => level === "error");
  if (errors.some(({ message }) => /macro/i.test(message))) return noMacros;
  if (built.success) return null;
  const [first] = errors;
  const { line, column } = first?.position ?? {};
  const where = line === undefined ? "" : ` (line ${line}, column ${column})`;
  return `${first?.message ?? "it does not compile"}${where}`;
}
