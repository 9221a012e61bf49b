/**
 * Runs something again whenever one of its files changes. Folders are watched, not files: an editor that
 * writes beside and renames over leaves a new file, and a watch of the old one would see nothing. Events
 * that come together (a burst of saves, the several writes of one save) are one run, and what comes
 * during a run is one more after it.
 */
import { type FSWatcher, watch } from "node:fs";
import { dirname } from "node:path";
import { watchQuietMs } from "../domain/limits.ts";
import { isFolder } from "./source-file.ts";

export interface WatchOptions {
  /** One run. It fills `files` anew with what it depends on, also when it fails; it must not throw. */
  run: (files: Set<string>) => Promise<void>;
  /** Ends the watch after the run under way. */
  signal: AbortSignal;
  /** Told once changes are seen, after the first run and each that follows. */
  onWatching?: () => void;
}

/** Resolves when the signal says so. */
export async function watchFiles({ run, signal, onWatching }: WatchOptions): Promise<void> {
  const folders = new WatchedFolders(signal);
  try {
    while (!signal.aborted) {
      const files = new Set<string>();
      await run(files);
      // What changed before its folder was watched is not missed: the folder is new to the watch then.
      if (folders.watch(files)) continue;
      onWatching?.();
      await folders.quietAfterChange();
    }
  } finally {
    folders.close();
  }
}

class WatchedFolders {
  readonly #watchers = new Map<string, FSWatcher>();
  #changes = 0;
  #seen = 0;
  #wake: () => void = () => {};

  constructor(private readonly signal: AbortSignal) {
    signal.addEventListener("abort", () => this.#wake(), { once: true });
  }

  /** Watches the folders of these files and no other. True when one was not watched before. */
  watch(files: ReadonlySet<string>): boolean {
    const wanted = new Set([...files].map((file) => dirname(file)).filter(isFolder));
    for (const [folder, watcher] of this.#watchers) {
      if (wanted.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    let hasNew = false;
    for (const folder of wanted) {
      if (this.#watchers.has(folder)) continue;
      const watcher = watch(folder, () => this.#changed());
      // The folder itself went away: the next run says what is missing.
      watcher.on("error", () => this.#forget(folder));
      this.#watchers.set(folder, watcher);
      hasNew = true;
    }
    return hasNew;
  }

  /** Resolves when something changed since the last time, and a little quiet followed. */
  async quietAfterChange(): Promise<void> {
    while (this.#changes === this.#seen && !this.signal.aborted) await this.#next(null);
    while (this.#changes !== this.#seen && !this.signal.aborted) {
      this.#seen = this.#changes;
      await this.#next(watchQuietMs);
    }
  }

  close(): void {
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #next(msMax: number | null): Promise<void> {
    return new Promise((resolve) => {
      const timer = msMax === null ? null : setTimeout(resolve, msMax);
      this.#wake = () => {
        if (timer !== null) clearTimeout(timer);
        resolve();
      };
    });
  }

  #changed(): void {
    this.#changes += 1;
    this.#wake();
  }

  #forget(folder: string): void {
    this.#watchers.get(folder)?.close();
    this.#watchers.delete(folder);
    this.#changed();
  }
}
