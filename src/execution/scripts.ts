/**
 * What the data plane knows of a script: one statement reads it, a cache bounded in bytes keeps it.
 *
 * Invariant: what `cached` answers was read after the last change of that script was announced. A
 * change (`notify("scripts", id)` at its commit) drops the entry and disowns a read that is under
 * way: its callers, who asked before the change, still get it, but it never enters the cache.
 *
 * The payload "*" drops everything: for changes of many scripts at once (an app is deleted).
 */
import { LRUCache } from "lru-cache";
import { PicError } from "../domain/errors.ts";
import { type ScriptLimits, scriptCacheBytesMax } from "../domain/limits.ts";
import { effectiveLimits, type Script, type ScriptKind } from "../domain/scripts.ts";
import type { Program } from "../sandbox/protocol.ts";
import type { Database, Seen } from "../storage/port.ts";
import { getRunnable } from "../storage/scripts.ts";

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
  loadProgram: () => Promise<Program>;
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

  const unlisten = await options.db.listen(scriptsChannel, (scriptId) => {
    const changed = scriptId === "*" ? [...cache.keys()] : [scriptId];
    if (scriptId === "*") loading.clear();
    for (const id of changed) {
      loading.delete(id);
      const cached = cache.peek(id);
      if (cached === undefined) continue;
      cache.delete(id);
      options.forget(cached.runnable.program_id);
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

async function readRunnable(options: ScriptCatalogOptions, scriptId: string): Promise<Cached> {
  const seen: Seen = { seq: 0 };
  // such an id comes from a URL, and the database refuses it as a defect of its caller
  if (scriptId.includes("\0") || !scriptId.isWellFormed()) throw noSuchScript();
  const row = await getRunnable(options.db, scriptId, seen);
  if (row === null) throw noSuchScript();
  const { script, code } = row;
  return {
    runnable: toRunnable(script, code, options.ceilings, seen.seq),
    // UTF-16 at worst; the rest of an entry is small and counted flat
    bytes: code.length * 2 + 2_048,
  };
}

function noSuchScript(): PicError {
  return new PicError("not_found", "There is no such script");
}

function toRunnable(
  script: Script,
  code: string,
  ceilings: Readonly<ScriptLimits>,
  seenSeq: number,
): Runnable {
  // A rename makes no version, but the name stands in stack traces: it is part of the content.
  const programId = `${script.id}@${script.active_version}/${script.name}`;
  const program: Program = {
    id: programId,
    app_id: script.app_id,
    entry: script.name,
    modules: Object.fromEntries([[script.name, code]]),
  };
  return {
    script_id: script.id,
    app_id: script.app_id,
    name: script.name,
    kind: script.kind,
    limits: effectiveLimits(script.limits, ceilings),
    version: script.active_version,
    public_execute: script.public_execute,
    program_id: programId,
    loadProgram: () => Promise.resolve(program),
    ctx_json:
      `"scriptId":${JSON.stringify(script.id)},"scriptName":${JSON.stringify(script.name)},` +
      `"scriptVersion":${script.active_version},"appId":${JSON.stringify(script.app_id)}`,
    seen_seq: seenSeq,
  };
}
