/**
 * Requests of asynchronous routes: accepted at once, run later from the outbox.
 *
 * Invariants:
 * - who is given an id and a token finds both again, whatever happens to this process: the delivery and
 *   what its caller may ask after are one transaction, which is durable before anybody hears of it;
 * - an app has a bounded number of requests waiting. They are counted once for many, and each server
 *   counts for itself: together they may pass the bound by asyncCountStep each;
 * - what has finished is kept for a time, and only so many of an app, as anybody may call a route;
 * - an id alone tells nothing: whoever asks has to know the token, of which the digest is kept.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { newToken, sha256Hex } from "../base/ids.ts";
import type { Logger } from "../base/log.ts";
import type { Usage } from "../bindings/usage.ts";
import type { AsyncExecution } from "../domain/async-executions.ts";
import { PicError } from "../domain/errors.ts";
import { type Delivery, RETRY_DEFAULT } from "../domain/events.ts";
import {
  asyncAppsMax,
  asyncCountStep,
  asyncDataShare,
  asyncFullMs,
  asyncKeptMax,
  asyncPayloadBytesMax,
  asyncPendingMax,
  asyncRetryAfterS,
  asyncTrimRows,
} from "../domain/limits.ts";
import { DeliveryAnnouncer } from "../storage/announcements.ts";
import {
  countPendingAsyncExecutions,
  getAsyncExecution,
  insertAsyncExecution,
  trimAsyncExecutions,
} from "../storage/async-executions.ts";
import { insertDelivery } from "../storage/outbox.ts";
import type { Database } from "../storage/port.ts";
import type { DeferredRequest } from "./api.ts";
import { runnable } from "./execute.ts";
import type { ScriptCatalog } from "./scripts.ts";

export interface AsyncRunsOptions {
  db: Database;
  catalog: Pick<ScriptCatalog, "cached" | "get">;
  usage: Pick<Usage, "admit" | "add">;
  clock: Clock;
  log: Logger;
  newId: () => string;
}

export interface Accepted {
  execution_id: string;
  /** Shown once. */
  token: string;
}

/** How many more requests of an app are taken before they are counted again. */
interface Room {
  left: number;
  /** Being accepted: a count may see them or not. */
  underWay: number;
  /** Until then a count need not be repeated, on the monotonic clock. */
  fullUntil: number;
  counting: Promise<void> | null;
}

export class AsyncRuns {
  readonly #rooms = new LRUCache<string, Room>({ max: asyncAppsMax });

  readonly #announcer: DeliveryAnnouncer;

  constructor(private readonly options: AsyncRunsOptions) {
    this.#announcer = new DeliveryAnnouncer(options);
  }

  /**
   * Resolves when the request is sure to be run. Throws PicError `not_found` for a script that is gone or
   * a module, `body_too_large`, `overloaded` when too much of the app waits or is kept, `unavailable`.
   */
  async accept(script_id: string, request: DeferredRequest): Promise<Accepted> {
    const { catalog, usage } = this.options;
    const script = runnable(catalog.cached(script_id) ?? (await catalog.get(script_id)));
    const { app_id } = script;
    const payload = JSON.stringify(request);
    const delta = { rows: 1, bytes: Buffer.byteLength(payload) };
    if (delta.bytes > asyncPayloadBytesMax) throw tooLarge();
    const admission = usage.admit(app_id, delta, asyncDataShare);
    if (admission !== null) await admission.catch(refuseFull);
    const room = await this.#enter(app_id);
    try {
      const accepted = await this.#insert({ app_id, script_id, payload });
      usage.add(app_id, delta);
      return accepted;
    } finally {
      room.underWay -= 1;
    }
  }

  /** Null for an unknown id and for a wrong token alike. What it shows is durable. */
  async find(id: string, token: string): Promise<AsyncExecution | null> {
    const { db } = this.options;
    const seen = { seq: 0 };
    // By the digest: how long a look-up takes tells nothing of a token.
    const found = await getAsyncExecution(db, { id, token_hash: sha256Hex(token) }, seen);
    await db.durable(seen);
    return found;
  }

  async #insert(what: Pick<Delivery, "app_id" | "script_id" | "payload">): Promise<Accepted> {
    const { db, clock, newId } = this.options;
    const execution_id = newId();
    const token = newToken("");
    const delivery = deliveryOf(execution_id, clock.now(), what);
    const { app_id, script_id, created_at } = delivery;
    const token_hash = sha256Hex(token);
    await db
      .tx(async (tx) => {
        await insertAsyncExecution(tx, {
          id: execution_id,
          app_id,
          script_id,
          token_hash,
          created_at,
        });
        await insertDelivery(tx, delivery);
        await this.#announcer.announce(tx, app_id);
      })
      .catch(refuseGone);
    return { execution_id, token };
  }

  /** Takes a place among the waiting; whoever got one is under way. */
  async #enter(app_id: string): Promise<Room> {
    const room = this.#roomOf(app_id);
    while (room.left <= 0) {
      if (this.options.clock.monotonic() < room.fullUntil) throw overloaded();
      room.counting ??= this.#count(app_id, room).finally(() => {
        room.counting = null;
      });
      await room.counting;
    }
    room.left -= 1;
    room.underWay += 1;
    return room;
  }

  /** Also deletes the oldest of too many: about as many as there have come since the last time. */
  async #count(app_id: string, room: Room): Promise<void> {
    const { db, clock } = this.options;
    await this.#trim(app_id);
    const pending = await countPendingAsyncExecutions(db, app_id, asyncPendingMax);
    room.left = Math.min(asyncCountStep, asyncPendingMax - pending - room.underWay);
    if (room.left <= 0) room.fullUntil = clock.monotonic() + asyncFullMs;
  }

  async #trim(app_id: string): Promise<void> {
    for (const status of ["success", "failed"] as const) {
      const trim = { app_id, status, keep: asyncKeptMax, limit: asyncTrimRows };
      for (let rows = 0; rows < 2 * asyncCountStep; rows += asyncTrimRows) {
        if ((await this.options.db.tx((tx) => trimAsyncExecutions(tx, trim))) < asyncTrimRows)
          break;
      }
    }
  }

  #roomOf(app_id: string): Room {
    let room = this.#rooms.get(app_id);
    if (room === undefined) {
      room = { left: 0, underWay: 0, fullUntil: Number.NEGATIVE_INFINITY, counting: null };
      this.#rooms.set(app_id, room);
    }
    return room;
  }
}

function deliveryOf(
  event_id: string,
  created_at: number,
  what: Pick<Delivery, "app_id" | "script_id" | "payload">,
): Delivery {
  return {
    ...what,
    event_id,
    trigger_id: "",
    source: "route",
    type: "fire",
    depth: 0,
    root_execution_id: event_id,
    created_at,
    attempt: 0,
    attempt_base: 0,
    crashes: 0,
    fence: 0,
    retry: RETRY_DEFAULT,
    due_at: 0,
    dead_letter_id: null,
  };
}

function tooLarge(): PicError {
  const message = `As it is kept, the request is longer than ${asyncPayloadBytesMax} bytes`;
  return new PicError("body_too_large", message);
}

function overloaded(): PicError {
  return new PicError("overloaded", "Too many requests wait to be run", {
    retry_after_s: asyncRetryAfterS,
  });
}

/** A caller can do nothing about an app that is full but come again. */
function refuseFull(error: unknown): never {
  throw isCode(error, "quota_exceeded") ? overloaded() : error;
}

/** The script was deleted after it had been looked up. */
function refuseGone(error: unknown): never {
  throw isCode(error, "conflict") ? new PicError("not_found", "There is no such script") : error;
}

function isCode(error: unknown, code: PicError["code"]): boolean {
  return error instanceof PicError && error.code === code;
}
