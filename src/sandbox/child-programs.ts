/**
 * What a child holds of the programs it runs: their sources and their images, both bounded in bytes,
 * the least recently used given up first. An image that is gone is made again from the source; a source
 * that is gone is asked for again.
 */

import type { GuestError } from "../domain/executions.ts";
import { programSourceBytesMax } from "../domain/limits.ts";
import { type Image, imageBytes } from "./image.ts";
import type { Program } from "./protocol.ts";

/** What is known about a program after its first load. */
export type Loaded =
  | { kind: "image"; image: Image }
  | { kind: "live" }
  | { kind: "broken"; error: GuestError };

interface Held {
  program: Program;
  sourceBytes: number;
  loaded: Loaded | null;
}

export class ChildPrograms {
  /** In the order of their last use. */
  readonly #held = new Map<string, Held>();
  #sourceBytes = 0;
  #imageBytes = 0;

  constructor(private readonly imageBytesMax: number) {}

  get count(): number {
    return this.#held.size;
  }

  get imageBytes(): number {
    return this.#imageBytes;
  }

  /** The same id is always the same program: what is held stays. */
  add(program: Program, sourceBytes: number): void {
    if (this.#held.has(program.id)) return;
    this.#held.set(program.id, { program, sourceBytes, loaded: null });
    this.#sourceBytes += sourceBytes;
    for (const id of this.#held.keys()) {
      if (this.#sourceBytes <= programSourceBytesMax || id === program.id) break;
      this.forget(id);
    }
  }

  /** The program and what is known of it, now the most recently used; null when it is not held. */
  use(id: string): { program: Program; loaded: Loaded | null } | null {
    const held = this.#held.get(id);
    if (held === undefined) return null;
    this.#held.delete(id);
    this.#held.set(id, held);
    return held;
  }

  keep(id: string, loaded: Loaded): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    this.#drop(held);
    held.loaded = loaded;
    if (loaded.kind === "image") this.#imageBytes += imageBytes(loaded.image);
    for (const [other, candidate] of this.#held) {
      if (this.#imageBytes <= this.imageBytesMax) break;
      if (other !== id) this.#drop(candidate);
    }
    // One image that is larger than all that may be kept is made again for each execution.
    if (this.#imageBytes > this.imageBytesMax) this.#drop(held);
  }

  forget(id: string): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    this.#drop(held);
    this.#sourceBytes -= held.sourceBytes;
    this.#held.delete(id);
  }

  #drop(held: Held): void {
    if (held.loaded?.kind !== "image") return;
    this.#imageBytes -= imageBytes(held.loaded.image);
    held.loaded = null;
  }
}
