/**
 * What a bundled package wants and the sandbox does not have: modules of Node.js and Bun, and global
 * names. Modules are known for certain from the imports; of names only a guess is possible, so that they
 * are no more than a warning.
 */

/** Modules that only Node.js and Bun have. `ws` and `undici`, which Bun has too, are packages. */
const BUILT_IN = new Set(
  [
    "assert assert/strict async_hooks buffer child_process cluster console constants crypto dgram",
    "diagnostics_channel dns dns/promises domain events fs fs/promises http http2 https inspector",
    "inspector/promises module net os path path/posix path/win32 perf_hooks process punycode",
    "querystring readline readline/promises repl stream stream/consumers stream/promises stream/web",
    "string_decoder sys timers timers/promises tls trace_events tty url util util/types v8 vm wasi",
    "worker_threads zlib",
  ].flatMap((line) => line.split(" ")),
);

/** Whether a specifier names a module of the runtime: `node:fs`, `fs`, `bun:sqlite`. */
export function isBuiltIn(specifier: string): boolean {
  return /^(?:node|bun):/.test(specifier) || specifier === "bun" || BUILT_IN.has(specifier);
}

/** The module that stands in for it: fails when it is reached, and says why. */
export function missingModule(specifier: string): string {
  const message = `${JSON.stringify(specifier)} does not exist in PiCloud's sandbox`;
  // CommonJS, so that any name can be imported from it and only running it fails.
  return `throw new Error(${JSON.stringify(message)});\nmodule.exports = {};\n`;
}

/** How the bundler keeps a call of `require` whose argument is only known when it runs. */
const requireHelper = /var __require ?= ?[\s\S]{0,600}?is not supported['"`]\);?\s*\}\);?/;

/**
 * The server takes no script that speaks of `require`. What is left of it in packages is mostly asked for
 * with `typeof` first: so it fails when it is called, no sooner. All else keeps its place.
 */
export function withoutRequire(code: string): { code: string; calls: number[] } {
  const helper = requireHelper.exec(code);
  if (helper === null) return { code, calls: [] };
  const [text] = helper;
  const failing = 'var __require=()=>{throw new Error("require does not exist in the sandbox")};';
  const lineEnds = text.split("\n").length - 1;
  const instead = lineEnds > 0 ? failing + "\n".repeat(lineEnds) : failing.padEnd(text.length);
  const replaced = code.slice(0, helper.index) + instead + code.slice(helper.index + text.length);
  const calls = [...replaced.matchAll(/(?<![\w$.])__require\(/g)].map(({ index }) => index);
  return { code: replaced, calls };
}

/**
 * Whether all calls of `require` for it stand inside of a block: a function, a condition, a `try`. Such a
 * package may well work without.
 */
export function isRequiredInBlock(text: string, specifier: string): boolean {
  const name = specifier.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  const calls = [...text.matchAll(new RegExp(`require\\s*\\(\\s*(["'\`])${name}\\1`, "g"))];
  return calls.length > 0 && calls.every(({ index }) => blockDepth(text.slice(0, index)) > 0);
}

/** Braces that are open at the end of a text, but for those in strings and comments. */
function blockDepth(text: string): number {
  const plain = text.replace(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/g,
    "",
  );
  let depth = 0;
  for (const char of plain) {
    if (char === "{") depth += 1;
    else if (char === "}") depth = Math.max(0, depth - 1);
  }
  return depth;
}

/** Names of browsers and of Node.js that packages use and the sandbox has not. */
const ABSENT = [
  "process Buffer fetch XMLHttpRequest WebSocket EventSource setInterval setImmediate performance",
  "AbortController AbortSignal Headers Request Response Blob File FileReader FormData",
  "ReadableStream WritableStream TransformStream CompressionStream Event EventTarget CustomEvent",
  "MessageChannel BroadcastChannel Worker WebAssembly Intl document window navigator location",
  "localStorage sessionStorage indexedDB Deno Bun",
].flatMap((line) => line.split(" "));

/** What can stand before a name that is read, and never before one that is declared. */
const READ = String.raw`(?:[=<>(?:!&|+\-*[]|\b(?:await|return|new|void|throw|in|of|case|instanceof)\s)`;

/** Texts and regular expressions, which hold words: `/` begins one where no value can end. */
const LITERALS =
  /(?<=[=(,:;!&|?{}[+\-~^%*<>]|\breturn|\bcase|\btypeof)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g;

/**
 * Free names in bundled code that the sandbox has not, as far as can be seen without a parser.
 * @param minified with short names for all that is declared: what keeps its name is free
 */
export function absentGlobals(minified: string): string[] {
  const code = minified.replace(LITERALS, '""');
  return ABSENT.filter((name) => {
    // Who asks for its type gets along without it.
    if (new RegExp(`typeof ${name}\\b`).test(code)) return false;
    return new RegExp(`${READ}${name}(?![\\w$]|\\s*:)`).test(code);
  });
}
