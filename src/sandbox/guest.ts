/**
 * Which modules a guest can import. Three kinds of names meet in QuickJS's module table: the SDK's own
 * files (a prefix that no script's name can have), and the modules of the program, by their names.
 */
import { guestStackFramesMax } from "../domain/limits.ts";
import { guestModules } from "../sdk/guest-modules.ts";
import type { Program } from "./protocol.ts";

/** Before the name of an SDK file. Also how its frames are told apart in a stack trace. */
export const SDK_PREFIX = "\u0001picloud/";
/** How the SDK's loader says that it means a module of the program (sdk/main.ts). */
const PROGRAM_PREFIX = "\u0002";
const SDK_SPECIFIER = "picloud";
/** A name that no module has: what a script may not import must not be found in the table either. */
const NOWHERE_PREFIX = "\u0003";

export const GUEST_MAIN = "./main.ts";

/** The name in QuickJS's table for a specifier. */
export function resolveModule(importer: string, specifier: string): string {
  if (importer.startsWith(SDK_PREFIX)) {
    if (specifier.startsWith(PROGRAM_PREFIX)) return specifier.slice(PROGRAM_PREFIX.length);
    return SDK_PREFIX + specifier.slice("./".length);
  }
  if (specifier === SDK_SPECIFIER) return `${SDK_PREFIX}picloud.ts`;
  return specifier.startsWith(SDK_PREFIX) ? NOWHERE_PREFIX + specifier : specifier;
}

/** The source for a name in QuickJS's table, or null. */
export function moduleSource(name: string, program: Program | null): string | null {
  if (name.startsWith(SDK_PREFIX)) return guestModules[name.slice(SDK_PREFIX.length)] ?? null;
  if (program === null || !Object.hasOwn(program.modules, name)) return null;
  return program.modules[name] ?? null;
}

/** The innermost frames of a stack trace, without the SDK's. */
export function authorsStack(stack: string): string {
  return stack
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.includes(SDK_PREFIX))
    .slice(0, guestStackFramesMax)
    .join("\n");
}
