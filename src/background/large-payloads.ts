/**
 * Payloads that are large are read when their handler is about to run, few of an app at a time: claims
 * of 16 requests of 1 MiB, each of them copied for its sandbox, took the server half a gigabyte.
 */
import { Semaphore, SemaphoreFull } from "../base/semaphore.ts";
import { PicError } from "../domain/errors.ts";
import type { Delivery } from "../domain/events.ts";
import { gateRunningMax, largePayloadsPerAppMax, largePayloadWaitMsMax } from "../domain/limits.ts";
import { isPayloadLeftOut, readPayload } from "../storage/outbox.ts";
import type { Database } from "../storage/port.ts";

export class LargePayloads {
  /** Of apps that have one which runs or waits. */
  readonly #apps = new Map<string, { turns: Semaphore; users: number }>();

  constructor(private readonly db: Pick<Database, "get" | "outbox">) {}

  /** Resolves to null when its turn did not come, or when the delivery is gone: it is given back. */
  async with<T>(delivery: Delivery, work: () => Promise<T>): Promise<T | null> {
    if (!isPayloadLeftOut(delivery)) return work();
    const read = async (): Promise<T | null> => {
      const payload = await this.#read(delivery);
      if (payload === null) return null;
      delivery.payload = payload;
      return work();
    };
    const { app_id } = delivery;
    const app = this.#apps.get(app_id) ?? { turns: newTurns(), users: 0 };
    this.#apps.set(app_id, app);
    app.users += 1;
    try {
      return await app.turns.run(read);
    } catch (error) {
      if (error instanceof SemaphoreFull) return null;
      throw error;
    } finally {
      app.users -= 1;
      if (app.users === 0) this.#apps.delete(app_id);
    }
  }

  async #read(delivery: Delivery): Promise<string | null> {
    try {
      return await readPayload(this.db, delivery);
    } catch (error) {
      if (error instanceof PicError && error.code === "unavailable") return null;
      throw error;
    }
  }
}

function newTurns(): Semaphore {
  return new Semaphore({
    slots: largePayloadsPerAppMax,
    waiting: gateRunningMax,
    waitMsMax: largePayloadWaitMsMax,
  });
}
