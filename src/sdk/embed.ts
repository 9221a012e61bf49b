/**
 * Run while PiCloud is bundled (or loaded from source), never in it: turns this folder's files into
 * the two texts that are embedded, the guest's JavaScript and the declarations for script authors.
 * So what a script runs and what its editor shows come from one source.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Guest modules, in the order in which their declarations are printed. */
const GUEST_FILES = [
  "context.ts",
  "log.ts",
  "kv.ts",
  "docs.ts",
  "tx.ts",
  "tx-docs.ts",
  "tx-records.ts",
  "base64.ts",
  "hex.ts",
  "picloud.ts",
  "url.ts",
  "text.ts",
  "crypto.ts",
  "timers.ts",
  "clone.ts",
  "exceptions.ts",
  "operations.ts",
  "host.ts",
  "result.ts",
  "main.ts",
];

/** File name → JavaScript. */
export function embedModules(): Record<string, string> {
  const transpiler = new Bun.Transpiler({
    loader: "ts",
    target: "browser",
    minifyWhitespace: true,
  });
  return Object.fromEntries(
    GUEST_FILES.map((file) => [file, transpiler.transformSync(read(file))]),
  );
}

/** All that stands between a pair of markers (`// <name>` … `// </name>`), file after file. */
export function embedDeclarations(marker: string): string {
  const pattern = new RegExp(`^// <${marker}>\\n([\\s\\S]*?)^// </${marker}>$`, "gm");
  return GUEST_FILES.flatMap((file) => [...read(file).matchAll(pattern)].map((match) => match[1]))
    .join("\n")
    .replace(/^ *\/\/ biome-ignore .*\n/gm, "");
}

function read(file: string): string {
  return readFileSync(join(import.meta.dir, file), "utf8");
}
