/**
 * `kv`: key-value data of an app. The app comes from the execution; every argument comes from the
 * script and is checked, member by member.
 *
 * A write is one transaction. Reads and writes note the newest commit in `cx.seen`; the execution's
 * response waits for it, the host call does not.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { Semaphore, SemaphoreFull } from "../base/semaphore.ts";
import type { Binding, BindingContext, BindingMethod } from "../domain/bindings.ts";
import { invalidField, PicError } from "../domain/errors.ts";
import {
  kvCollectionBytesMax,
  kvCursorCharsMax,
  kvIncrementTriesMax,
  kvKeyBytesMax,
  kvListAppsMax,
  kvListBytesMax,
  kvListLimitDefault,
  kvListLimitMax,
  kvListScanRowsMax,
  kvListsPerAppMax,
  kvListsWaitingMax,
  kvListWaitMsMax,
  kvValueBytesMax,
} from "../domain/limits.ts";
import { deleteKv, getKv, type KvEntry, listKv, replaceKv, setKv } from "../storage/kv.ts";
import type { Database } from "../storage/port.ts";

export interface KvBindingOptions {
  db: Database;
  clock: Clock;
}

/** What `kv.list` answers, and its items; `getEntry` answers an item or null. */
interface KvItem {
  key: string;
  value: unknown;
  version: number;
}

export function createKvBinding({ db, clock }: KvBindingOptions): Binding {
  const turns = new ListTurns();
  const read = (cx: BindingContext, args: unknown) => {
    const { collection, key } = place(args);
    return getKv(db, cx.app_id, collection, key, cx.seen);
  };
  return {
    name: "kv",
    methods: {
      get: reading(async (cx, args) => {
        const row = await read(cx, args);
        return row === null ? null : (JSON.parse(row.value) as unknown);
      }),
      getEntry: reading(async (cx, args) => {
        const row = await read(cx, args);
        return row === null ? null : item({ key: place(args).key, ...row });
      }),
      has: reading(async (cx, args) => (await read(cx, args)) !== null),
      list: reading(async (cx, args) => turns.run(cx.app_id, () => list(db, cx, args))),
      set: writing(async (cx, args) => {
        const { collection, key } = place(args);
        const value = valueJson(member(args, "value"));
        return setKv(db.autocommit(cx.seen), cx.app_id, collection, key, value, clock.now());
      }),
      delete: writing(async (cx, args) => {
        const { collection, key } = place(args);
        return deleteKv(db.autocommit(cx.seen), cx.app_id, collection, key);
      }),
      increment: writing(async (cx, args) => increment(db, clock, cx, args)),
    },
  };
}

function reading(call: BindingMethod["call"]): BindingMethod {
  return { effect: false, call };
}

function writing(call: BindingMethod["call"]): BindingMethod {
  return { effect: true, call };
}

/**
 * Lists take turns app by app: one app that asks for 256 at once would have every other list, and the
 * owner's admin pages, wait behind all of them.
 */
class ListTurns {
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

/** A missing entry counts as 0; resolves to the sum. */
function increment(db: Database, clock: Clock, cx: BindingContext, args: unknown): Promise<number> {
  const { collection, key } = place(args);
  const by = member(args, "by") ?? 1;
  if (!isFiniteNumber(by)) throw new PicError("kv_not_a_number", "increment takes a finite number");
  return db.tx(
    async (tx) => {
      for (let tries = 0; tries < kvIncrementTriesMax; tries += 1) {
        const row = await getKv(tx, cx.app_id, collection, key);
        const old_json = row?.value ?? null;
        const value_json = JSON.stringify(sumOf(old_json, by));
        const change = { old_json, value_json, now: clock.now() };
        if (await replaceKv(tx, cx.app_id, collection, key, change)) return Number(value_json);
      }
      throw new PicError("unavailable", "The value is changing too fast; try again");
    },
    { seen: cx.seen },
  );
}

function sumOf(old_json: string | null, by: number): number {
  const old: unknown = old_json === null ? 0 : JSON.parse(old_json);
  if (!isFiniteNumber(old)) throw new PicError("kv_not_a_number", "The value is not a number");
  const sum = old + by;
  if (!isFiniteNumber(sum)) throw new PicError("kv_not_a_number", "The sum is not a finite number");
  return sum;
}

/**
 * Items by key, from the one after the cursor's. A page may end before `limit` because its values
 * are large; only `nextCursor: null` means that there are no more.
 */
async function list(
  db: Database,
  cx: BindingContext,
  args: unknown,
): Promise<{ items: KvItem[]; nextCursor: string | null }> {
  const collection = text(
    member(args, "collection"),
    "The collection's name",
    kvCollectionBytesMax,
  );
  const prefix = prefixOf(args);
  const limit = limitOf(args);
  let after = cursorOf(args);
  const items: KvItem[] = [];
  let bytes = 0;
  while (true) {
    const scanned = Math.min(kvListScanRowsMax, limit + 1 - items.length);
    const rows = await listKv(
      db,
      cx.app_id,
      collection,
      { prefix, limit: scanned, after },
      cx.seen,
    );
    for (const row of rows) {
      const isFull = items.length === limit || (items.length > 0 && bytes >= kvListBytesMax);
      if (isFull) return { items, nextCursor: cursorAfter(items) };
      items.push(item(row));
      bytes += row.value.length;
      after = row.key;
    }
    if (rows.length < scanned) return { items, nextCursor: null };
  }
}

function item({ key, value, version }: KvEntry): KvItem {
  return { key, value: JSON.parse(value) as unknown, version };
}

function cursorAfter(items: readonly KvItem[]): string {
  return Buffer.from((items.at(-1) as KvItem).key).toString("base64url");
}

// what a script sent

/** Own members only: nothing that a prototype holds is an argument. */
function member(args: unknown, name: string): unknown {
  if (typeof args !== "object" || args === null || !Object.hasOwn(args, name)) return undefined;
  return (args as Record<string, unknown>)[name];
}

function place(args: unknown): { collection: string; key: string } {
  return {
    collection: text(member(args, "collection"), "The collection's name", kvCollectionBytesMax),
    key: text(member(args, "key"), "The key", kvKeyBytesMax),
  };
}

/** Text that every engine stores and compares alike: not empty, no NUL, no lone surrogates. */
function text(value: unknown, what: string, bytesMax: number): string {
  if (typeof value !== "string") throw badKey(`${what} must be a string`);
  if (value === "") throw badKey(`${what} must not be empty`);
  return checkedText(value, what, bytesMax);
}

function checkedText(value: string, what: string, bytesMax: number): string {
  if (
    value.length > bytesMax ||
    (value.length * 3 > bytesMax && Buffer.byteLength(value) > bytesMax)
  ) {
    throw badKey(`${what} is longer than ${bytesMax} bytes`);
  }
  if (value.includes("\0")) throw badKey(`${what} must not contain a NUL character`);
  if (!value.isWellFormed()) throw badKey(`${what} must not contain a lone surrogate`);
  return value;
}

function badKey(message: string): PicError {
  return new PicError("kv_invalid_key", message);
}

function valueJson(value: unknown): string {
  if (value === undefined) {
    throw new PicError("kv_invalid_value", "The value is undefined: JSON has no such value");
  }
  const json = printed(value);
  if (json.length > kvValueBytesMax || Buffer.byteLength(json) > kvValueBytesMax) {
    throw new PicError(
      "kv_value_too_large",
      `The value is longer than ${kvValueBytesMax} bytes as JSON`,
    );
  }
  return json;
}

/** A value nested deep enough overflows the stack of whoever prints it: that is the script's error. */
function printed(value: unknown): string {
  try {
    const json: string | undefined = JSON.stringify(value);
    if (json !== undefined) return json;
  } catch {}
  throw new PicError("kv_invalid_value", "The value cannot be written as JSON");
}

function isFiniteNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function prefixOf(args: unknown): string {
  const prefix = member(args, "prefix") ?? "";
  if (typeof prefix !== "string") throw badKey("The prefix must be a string");
  return checkedText(prefix, "The prefix", kvKeyBytesMax);
}

function limitOf(args: unknown): number {
  const limit = member(args, "limit") ?? kvListLimitDefault;
  if (
    typeof limit !== "number" ||
    !Number.isInteger(limit) ||
    limit < 1 ||
    limit > kvListLimitMax
  ) {
    throw invalidField("limit", `must be a whole number from 1 to ${kvListLimitMax}`);
  }
  return limit;
}

/** The key in a cursor that we made; whatever else it is, it is refused. */
function cursorOf(args: unknown): string | null {
  const cursor = member(args, "cursor") ?? null;
  if (cursor === null) return null;
  const isOurs =
    typeof cursor === "string" &&
    cursor.length <= kvCursorCharsMax &&
    /^[A-Za-z0-9_-]+$/.test(cursor);
  if (!isOurs) throw badCursor();
  const key = Buffer.from(cursor, "base64url").toString("utf8");
  // decoding is lenient; only what encodes to the same text again is one of ours
  if (Buffer.from(key).toString("base64url") !== cursor) throw badCursor();
  return text(key, "The cursor's key", kvKeyBytesMax);
}

function badCursor(): PicError {
  return invalidField("cursor", "is not a cursor of this list");
}
