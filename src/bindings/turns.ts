/** Reads that may take long, in turns. */
import { LRUCache } from "lru-cache";
import { Semaphore, SemaphoreFull } from "../base/semaphore.ts";
import { PicError } from "../domain/errors.ts";
import {
  kvListAppsMax,
  kvListsPerAppMax,
  kvListsWaitingMax,
  kvListWaitMsMax,
} from "../domain/limits.ts";

/**
 * Lists take turns app by app: one app that asks for 256 at once would have every other list, and the
 * owner's admin pages, wait behind all of them.
 */
export class ListTurns {
  readonly #apps = new LRUCache<string, Semaphore>({ max: kvListAppsMax });

  /** Throws PicError `unavailable` when too many of the app's own lists wait. */
  async run<T>(appId: string, list: () => Promise<T>): Promise<T> {
    let app = this.#apps.get(appId);
    if (app === undefined) {
      app = new Semaphore({
        slots: kvListsPerAppMax,
        waiting: kvListsWaitingMax,
        waitMsMax: kvListWaitMsMax,
      });
      this.#apps.set(appId, app);
    }
    try {
      return await app.run(list);
    } catch (error) {
      if (!(error instanceof SemaphoreFull)) throw error;
      throw new PicError("unavailable", "Too many lists are being read; try again");
    }
  }
}
