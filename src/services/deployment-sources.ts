/**
 * The sources of a deployment: which of them are stored already, and what the others compile to. Nothing of
 * this needs a transaction: what was compared is checked again in the one that writes, and what a source
 * compiles to holds for ever.
 */
import type { Clock } from "../base/clock.ts";
import { PicError } from "../domain/errors.ts";
import {
  deploymentComparedBytes,
  deploymentCompileMsMax,
  deploymentCompilesMax,
} from "../domain/limits.ts";
import type { WantedScript } from "../domain/manifest.ts";
import type { ScriptKind } from "../domain/scripts.ts";
import type { Compiler } from "../sandbox/api.ts";
import type { Database } from "../storage/port.ts";
import { activeSources, scriptsOfApp } from "../storage/scripts.ts";
import { ManifestErrors, scriptPlace } from "./manifest-errors.ts";
import { type Compiled, compileSource, isOutdated } from "./sources.ts";

/** A script as it was when its source was compared. */
export interface ComparedScript {
  id: string;
  number: number;
  kind: ScriptKind;
  /** Its active version has the source that is wanted, and may be loaded. */
  has_source: boolean;
}

/** By name: those scripts of the app that the manifest names. */
export async function compareSources(
  db: Database,
  app_id: string,
  wanted: readonly WantedScript[],
): Promise<Map<string, ComparedScript>> {
  const compared = new Map<string, ComparedScript>();
  if (wanted.length === 0) return compared;
  const byName = new Map(wanted.map((script) => [script.name, script]));
  const alike: { compared: ComparedScript; source: string; bytes: number }[] = [];
  for (const { script, active } of await scriptsOfApp(db, app_id, [...byName.keys()])) {
    const { id, kind, active_version: number } = script;
    const found: ComparedScript = { id, number, kind, has_source: false };
    compared.set(script.name, found);
    const source = byName.get(script.name)?.source ?? "";
    const bytes = active.source_bytes;
    if (isOutdated(active) || bytes !== Buffer.byteLength(source)) continue;
    alike.push({ compared: found, source, bytes });
  }
  for (const chunk of chunksOf(alike, deploymentComparedBytes)) {
    const stored = await activeSources(
      db,
      chunk.map(({ compared: { id } }) => id),
    );
    const byId = new Map(stored.map((one) => [one.script_id, one]));
    for (const { compared: found, source } of chunk) {
      const version = byId.get(found.id);
      found.has_source = version?.number === found.number && version.source === source;
    }
  }
  return compared;
}

/** Compiles each source of a deployment once, however often the deployment starts over. */
export class DeploymentSources {
  readonly #compiled = new Map<WantedScript, Compiled>();

  constructor(private readonly options: { compiler: Compiler; clock: Clock }) {}

  /**
   * Those that are not stored as they are wanted. Throws PicError `invalid_source` and `invalid` with the
   * problems of all of them, `timeout`, `unavailable`.
   */
  async compile(
    wanted: readonly WantedScript[],
    compared: ReadonlyMap<string, ComparedScript>,
  ): Promise<ReadonlyMap<WantedScript, Compiled>> {
    const missing = wanted.filter((script) => {
      const found = compared.get(script.name);
      const isStored = found?.has_source === true && found.kind === script.kind;
      return !isStored && !this.#compiled.has(script);
    });
    const errors = new ManifestErrors();
    const rest = missing.values();
    const started = this.options.clock.monotonic();
    let isOver = false;
    const work = async (): Promise<void> => {
      for (const script of rest) {
        if (isOver || errors.isFull) return;
        this.#checkTime(started);
        await this.#compileOne(script, errors);
      }
    };
    try {
      await Promise.all(Array.from({ length: deploymentCompilesMax }, work));
    } finally {
      isOver = true;
    }
    errors.throwFound();
    return this.#compiled;
  }

  async #compileOne(script: WantedScript, errors: ManifestErrors): Promise<void> {
    try {
      this.#compiled.set(script, await compileSource(this.options.compiler, script));
    } catch (error) {
      errors.add(scriptPlace(script), error);
    }
  }

  #checkTime(started: number): void {
    if (this.options.clock.monotonic() - started <= deploymentCompileMsMax) return;
    throw new PicError("timeout", "The sources took too long to compile, all of them together");
  }
}

/** Pieces of which none but a single one has more bytes. */
function* chunksOf<T extends { bytes: number }>(
  all: readonly T[],
  bytesMax: number,
): Generator<T[]> {
  let chunk: T[] = [];
  let bytes = 0;
  for (const one of all) {
    if (chunk.length > 0 && bytes + one.bytes > bytesMax) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push(one);
    bytes += one.bytes;
  }
  if (chunk.length > 0) yield chunk;
}
