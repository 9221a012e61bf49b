/**
 * What is loaded into every guest before a script is: the globals, and the functions by which the
 * process around it enters. Those are taken off the global object once their addresses are known.
 */
import { atob, base64, btoa } from "./base64.ts";
import { structuredClone } from "./clone.ts";
import { crypto } from "./crypto.ts";
import { docs } from "./docs.ts";
import { DOMException } from "./exceptions.ts";
import { hex } from "./hex.ts";
import { host, parse, settle } from "./host.ts";
import { kv } from "./kv.ts";
import { console, log } from "./log.ts";
import { DELIVERY, OP_LOADED } from "./operations.ts";
import { deliver, fail } from "./result.ts";
import { TextDecoder, TextEncoder } from "./text.ts";
import { clearTimeout, fire, queueMicrotask, setTimeout } from "./timers.ts";
import { beginTx, tx } from "./tx.ts";
import { URL, URLSearchParams } from "./url.ts";

/** Marks the name of a script's module: what stands behind it is not one of ours. */
const PROGRAM_MODULE = "\u0002";

const globals: Record<string, unknown> = {
  URL,
  URLSearchParams,
  TextDecoder,
  TextEncoder,
  DOMException,
  atob,
  btoa,
  clearTimeout,
  console,
  crypto,
  queueMicrotask,
  setTimeout,
  structuredClone,
};
for (const name of Object.keys(globals)) {
  const value = globals[name];
  Object.defineProperty(globalThis, name, {
    value,
    configurable: true,
    writable: true,
    enumerable: false,
  });
}
for (const part of [log, base64, hex, kv, docs, tx, crypto, crypto.subtle, console])
  Object.freeze(part);

type Handler = (ctx: unknown) => unknown;
let handler: Handler | null = null;

/** Imports the script and what it imports. Says OP_LOADED, or OP_ERROR. */
async function load(entry: string): Promise<void> {
  try {
    const script = (await import(PROGRAM_MODULE + entry)) as { default?: unknown };
    if (typeof script.default !== "function") {
      throw new TypeError("The script's default export must be a function");
    }
    handler = script.default as Handler;
    host(OP_LOADED);
  } catch (error) {
    fail(error);
  }
}

/** Calls the handler of the script that was loaded. Says OP_RESULT, or OP_ERROR. */
async function run(input: string): Promise<void> {
  beginTx(input[0] === DELIVERY);
  try {
    deliver(await (handler as Handler)(parse(input)));
  } catch (error) {
    fail(error);
  }
}

/** Imports a module for its own sake, so that a later import finds it evaluated. */
async function preload(name: string): Promise<void> {
  try {
    await import(PROGRAM_MODULE + name);
  } catch {
    // Whoever imports it will meet the same error.
  }
}

(globalThis as unknown as Record<string, unknown>).__guest = { load, run, preload, settle, fire };
