/**
 * What the data plane knows of a script: one statement reads it with the versions of all modules that
 * it imports, a cache bounded in bytes keeps it. The code of modules is read when a child needs it.
 *
 * Invariant: what `cached` answers was read after the last change of that script, and of every module
 * in it, was announced. A change (`notify("scripts", id)` at its commit) drops the scripts that hold
 * it, and those that lack a module, because this may be it. It disowns all reads under way, because
 * nobody knows yet what they will hold: their callers, who asked before the change, still get them, but
 * they never enter the cache.
 *
 * The payload "*" drops everything: for changes of many scripts at once (an app is deleted), and when
 * announcements may have been missed.
 */
import { LRUCache } from "lru-cache";
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import { type ScriptLimits, scriptCacheBytesMax } from "../domain/limits.ts";
import { effectiveLimits, type Script, type ScriptKind } from "../domain/scripts.ts";
import type { Program } from "../sandbox/protocol.ts";
import type { Database, Seen } from "../storage/port.ts";
import { getProgram } from "../storage/scripts.ts";
import { type ModuleSet, modulesOf, programLoader } from "./modules.ts";

/** The channel on which every change of a script is announced, with its id. */
export const scriptsChannel = "scripts";

/** A script as an execution needs it. */
export interface Runnable {
  script_id: string;
  app_id: string;
  name: string;
  kind: ScriptKind;
  /** All six, defaults filled in, at most the ceilings. */
  limits: ScriptLimits;
  version: number;
  public_execute: boolean;
  /** The same id is always the same program. */
  program_id: string;
  /** Throws ModuleUnavailable. */
  loadProgram: () => Promise<Program>;
  /** Null: it imports none. */
  modules: ModuleSet | null;
  /** Members of `ctx` that are the same for every execution, as JSON text without braces. */
  ctx_json: string;
  /** The newest commit that may be in here: an execution of it has seen that. */
  seen_seq: number;
}

export interface ScriptCatalogOptions {
  db: Database;
  /** Drops the image of a program (the sandbox pool's `forget`). */
  forget: (programId: string) => void;
  ceilings: Readonly<ScriptLimits>;
  log: Logger;
  cacheBytesMax?: number;
}

export interface ScriptCatalog {
  /** Without waiting, when it is in memory. */
  cached(scriptId: string): Runnable | undefined;
  /** Throws PicError `not_found`. */
  get(scriptId: string): Promise<Runnable>;
  /** Stops listening. May be called twice. */
  close(): void;
}

/** Opens a catalog that listens for changes. */
export async function openScriptCatalog(options: ScriptCatalogOptions): Promise<ScriptCatalog> {
  const cache = new LRUCache<string, Cached>({
    maxSize: options.cacheBytesMax ?? scriptCacheBytesMax,
    sizeCalculation: (cached) => cached.bytes,
  });
  /** Reads under way. A read that is no longer in here when it ends was overtaken by a change. */
  const loading = new Map<string, Promise<Cached>>();

  const unlisten = await options.db.listen(scriptsChannel, (changed) => {
    loading.clear();
    for (const [id, { runnable }] of [...cache.entries()]) {
      if (!holds(runnable, changed)) continue;
      cache.delete(id);
      options.forget(runnable.program_id);
    }
  });

  const load = (scriptId: string): Promise<Cached> => {
    const underWay = loading.get(scriptId);
    if (underWay !== undefined) return underWay;
    const read = readRunnable(options, scriptId)
      .then((cached) => {
        if (loading.get(scriptId) === read) cache.set(scriptId, cached);
        return cached;
      })
      .finally(() => {
        if (loading.get(scriptId) === read) loading.delete(scriptId);
      });
    loading.set(scriptId, read);
    return read;
  };

  return {
    cached: (scriptId) => cache.get(scriptId)?.runnable,
    get: async (scriptId) => (cache.get(scriptId) ?? (await load(scriptId))).runnable,
    close: unlisten,
  };
}

interface Cached {
  runnable: Runnable;
  bytes: number;
}

/** Whether a change of that script, or of all, is one of what this consists of. */
function holds({ script_id, modules }: Runnable, changed: string): boolean {
  if (changed === "*" || changed === script_id) return true;
  return modules !== null && (modules.missing.length > 0 || modules.ids.has(changed));
}

async function readRunnable(options: ScriptCatalogOptions, scriptId: string): Promise<Cached> {
  const seen: Seen = { seq: 0 };
  // such an id comes from a URL, and the database refuses it as a defect of its caller
  if (scriptId.includes("\0") || !scriptId.isWellFormed()) throw noSuchScript();
  const stored = await getProgram(options.db, scriptId, seen);
  if (stored === null) throw noSuchScript();
  const { script, code } = stored;
  const modules = modulesOf(stored);
  // A rename makes no version, but the name stands in stack traces: it is part of the content.
  const id = `${script.id}@${script.active_version}/${script.name}${modules?.fingerprint ?? ""}`;
  const entry: Program = {
    id,
    app_id: script.app_id,
    entry: script.name,
    modules: Object.fromEntries([[script.name, code]]),
  };
  return {
    runnable: toRunnable(script, entry, modules, { options, seen_seq: seen.seq }),
    // UTF-16 at worst; the rest of an entry is small and counted flat
    bytes: code.length * 2 + 2_048 + (modules?.versions.size ?? 0) * 256,
  };
}

function noSuchScript(): PicError {
  return new PicError("not_found", "There is no such script");
}

function toRunnable(
  script: Script,
  program: Program,
  modules: ModuleSet | null,
  { options, seen_seq }: { options: ScriptCatalogOptions; seen_seq: number },
): Runnable {
  return {
    script_id: script.id,
    app_id: script.app_id,
    name: script.name,
    kind: script.kind,
    limits: effectiveLimits(script.limits, options.ceilings),
    version: script.active_version,
    public_execute: script.public_execute,
    program_id: program.id,
    loadProgram: programLoader(options, program, modules),
    modules,
    ctx_json:
      `"scriptId":${JSON.stringify(script.id)},"scriptName":${JSON.stringify(script.name)},` +
      `"scriptVersion":${script.active_version},"appId":${JSON.stringify(script.app_id)}`,
    seen_seq,
  };
}
