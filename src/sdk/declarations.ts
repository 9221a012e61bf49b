/** The declarations that script authors give to their editor: `picloud types` prints them. */
import { embedDeclarations } from "./embed.ts" with { type: "macro" };

/** Raised when what scripts see changes: docs/versioning.md. */
export const SDK_VERSION = "1.0";

const moduleTypes: string = embedDeclarations("declarations");
const globalTypes: string = embedDeclarations("globals");

/** Global values and their types, as declared in the parts. */
const GLOBAL_VALUES: readonly (readonly [name: string, type: string])[] = [
  ["console", "Console"],
  ["URL", "URLConstructor"],
  ["URLSearchParams", "URLSearchParamsConstructor"],
  ["TextEncoder", "TextEncoderConstructor"],
  ["TextDecoder", "TextDecoderConstructor"],
  ["DOMException", "DOMExceptionConstructor"],
  ["crypto", "Crypto"],
  ["atob", "Atob"],
  ["btoa", "Btoa"],
  ["setTimeout", "SetTimeout"],
  ["clearTimeout", "ClearTimeout"],
  ["queueMicrotask", "QueueMicrotask"],
  ["structuredClone", "StructuredClone"],
];

/** The text of `picloud.d.ts`. Needs only TypeScript's `ESNext` library, and no DOM. */
export function sdkDeclarations(): string {
  return [
    `// PiCloud SDK ${SDK_VERSION}. Use with "lib": ["ESNext"] and "types": [].`,
    "",
    'declare module "picloud" {',
    indent(moduleTypes),
    "  export const log: Log;",
    "  export const kv: Kv;",
    "  export const docs: Docs;",
    "  export const tx: RunTx;",
    "  export const base64: Base64;",
    "  export const hex: Hex;",
    "}",
    "",
    globalTypes.replace(/^export (?=interface|type)/gm, ""),
    ...GLOBAL_VALUES.map(([name, type]) => `declare var ${name}: ${type};`),
    "",
  ].join("\n");
}

function indent(text: string): string {
  return text.trimEnd().replace(/^(?=.)/gm, "  ");
}
