/**
 * `kv`: key-value data of an app. The app comes from the execution; every argument comes from the
 * script and is checked, member by member (kv-arguments.ts).
 *
 * A write of an app without triggers on its entries is one statement and its own transaction; with
 * triggers it is a transaction that reads what was there, writes, and emits. Reads and writes note the
 * newest commit in `cx.seen`; the execution's response waits for it, the host call does not.
 */
import type { Clock } from "../base/clock.ts";
import type { Binding, BindingContext, BindingMethod } from "../domain/bindings.ts";
import { PicError } from "../domain/errors.ts";
import {
  dataWriteTriesMax,
  kvListBytesMax,
  kvListScanRowsMax,
  kvManyBytesMax,
  kvManyShortBytesMax,
} from "../domain/limits.ts";
import {
  deleteKv,
  deleteKvVersion,
  getKv,
  getShortKv,
  insertKv,
  type KvEntry,
  listKv,
  scanKv,
  setKv,
  updateKv,
} from "../storage/kv.ts";
import type { Database, Tx } from "../storage/port.ts";
import type { Emission } from "./emission.ts";
import {
  isFiniteNumber,
  kvCollection,
  kvCursorAfter,
  kvCursorKey,
  kvExpiry,
  kvIfVersion,
  kvIncrement,
  kvKeys,
  kvLimit,
  kvPlace,
  kvPrefix,
  kvValueJson,
  member,
} from "./kv-arguments.ts";
import { kvDelta, type RecordWrites, type StoredRecord } from "./kv-writes.ts";
import { ListTurns } from "./turns.ts";
import type { Usage } from "./usage.ts";

export interface KvBindingOptions {
  db: Database;
  clock: Clock;
  emission: Emission;
  usage: Usage;
  writes: RecordWrites;
}

/** What `kv.list` answers, and its items; `getEntry` answers an item or null. */
interface KvItem {
  key: string;
  value: unknown;
  version: number;
}

export function createKvBinding(options: KvBindingOptions): Binding {
  const { db, clock } = options;
  const turns = new ListTurns();
  const writer = new KvWriter(options);
  const read = (cx: BindingContext, args: unknown) => {
    const { collection, key } = kvPlace(args);
    return getKv(db, cx.app_id, collection, key, clock.now(), cx.seen);
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
        return row === null ? null : item({ key: kvPlace(args).key, ...row });
      }),
      getMany: reading(async (cx, args) => getMany(options, turns, cx, args)),
      has: reading(async (cx, args) => (await read(cx, args)) !== null),
      list: reading(async (cx, args) => turns.run(cx.app_id, () => list(options, cx, args))),
      set: writing(async (cx, args) => writer.set(cx, args)),
      delete: writing(async (cx, args) => writer.delete(cx, args)),
      increment: writing(async (cx, args) => writer.increment(cx, args)),
    },
  };
}

function reading(call: BindingMethod["call"]): BindingMethod {
  return { effect: false, call };
}

function writing(call: BindingMethod["call"]): BindingMethod {
  return { effect: true, call };
}

type Place = ReturnType<typeof kvPlace>;

interface Put {
  value: string;
  expires_at: number | null;
}

class KvWriter {
  constructor(private readonly options: KvBindingOptions) {}

  /** Resolves to the entry's version. */
  async set(cx: BindingContext, args: unknown): Promise<number> {
    const place = kvPlace(args);
    const value = kvValueJson(member(args, "value"));
    const expires_at = kvExpiry(member(args, "ttl"), this.options.clock.now());
    const version = kvIfVersion(member(args, "ifVersion"));
    if (!this.options.emission.isNeeded(cx.app_id, "kv", place.collection)) {
      return this.#put(cx, place, { value, expires_at }, version);
    }
    return this.#change(cx, place, (previous) => {
      if (!isVersion(previous, version)) throw versionConflict(previous);
      return { put: { value, expires_at }, result: (now) => now };
    });
  }

  /** Resolves to whether there was an entry. */
  async delete(cx: BindingContext, args: unknown): Promise<boolean> {
    const place = kvPlace(args);
    const version = kvIfVersion(member(args, "ifVersion"));
    if (!this.options.emission.isNeeded(cx.app_id, "kv", place.collection))
      return this.#remove(cx, place, version);
    return this.#change(cx, place, (previous) => {
      if (!isVersion(previous, version)) throw versionConflict(previous);
      return { put: null, result: () => previous !== null };
    });
  }

  /** A missing entry counts as 0, and one that this makes expires as it says. Resolves to the sum. */
  async increment(cx: BindingContext, args: unknown): Promise<number> {
    const place = kvPlace(args);
    const by = kvIncrement(member(args, "by"));
    const first_expires_at = kvExpiry(member(args, "ttl"), this.options.clock.now());
    return this.#change(cx, place, (previous) => {
      const sum = sumOf(previous?.value ?? null, by);
      const expires_at = previous === null ? first_expires_at : (previous.expires_at ?? null);
      return { put: { value: JSON.stringify(sum), expires_at }, result: () => sum };
    });
  }

  /** A write that nobody is told of: one statement. */
  async #put(
    cx: BindingContext,
    { collection, key }: Place,
    put: Put,
    version: number | null,
  ): Promise<number> {
    const { db, clock, usage } = this.options;
    const { app_id } = cx;
    const delta = kvDelta(collection, key, null, put.value);
    if (usage.isNear(app_id)) {
      const previous = await getKv(db, app_id, collection, key, clock.now(), cx.seen);
      Object.assign(delta, kvDelta(collection, key, previous?.value ?? null, put.value));
    }
    const doubt = usage.admit(app_id, delta);
    if (doubt !== null) await doubt;
    const writer = db.autocommit(cx.seen);
    const write = { ...put, now: clock.now() };
    const written =
      version === null
        ? await setKv(writer, app_id, collection, key, write)
        : version === 0
          ? await insertKv(writer, app_id, collection, key, write)
          : await updateKv(writer, app_id, collection, key, { ...write, version });
    if (written === null) throw await this.#conflict(cx, { collection, key });
    // Version 1 is the only sign that it was not there before.
    usage.add(app_id, { rows: written === 1 ? delta.rows : 0, bytes: delta.bytes });
    return written;
  }

  async #remove(
    cx: BindingContext,
    { collection, key }: Place,
    version: number | null,
  ): Promise<boolean> {
    const { db, clock, usage } = this.options;
    const { app_id } = cx;
    const now = clock.now();
    if (version === 0) {
      if ((await getKv(db, app_id, collection, key, now, cx.seen)) === null) return false;
      throw await this.#conflict(cx, { collection, key });
    }
    const writer = db.autocommit(cx.seen);
    const bytes =
      version === null
        ? await deleteKv(writer, app_id, collection, key, now)
        : await deleteKvVersion(writer, app_id, collection, key, { version, now });
    if (bytes !== null) {
      const names = Buffer.byteLength(collection) + Buffer.byteLength(key);
      usage.add(app_id, { rows: -1, bytes: -(names + bytes) });
    } else if (version !== null) throw await this.#conflict(cx, { collection, key });
    return bytes !== null;
  }

  async #conflict(cx: BindingContext, { collection, key }: Place): Promise<PicError> {
    const { db, clock } = this.options;
    return versionConflict(await getKv(db, cx.app_id, collection, key, clock.now(), cx.seen));
  }

  /**
   * Reads, asks what to put there, and puts it there only if nobody came between: so what an event calls
   * `previous` is what was there.
   */
  #change<T>(
    cx: BindingContext,
    place: Place,
    decide: (previous: StoredRecord | null) => {
      put: Put | null;
      result: (version: number) => T;
    },
  ): Promise<T> {
    const { db, usage, writes } = this.options;
    const { collection, key } = place;
    const attempt = async (tx: Tx): Promise<T> => {
      for (let tries = 0; tries < dataWriteTriesMax; tries += 1) {
        const previous = await writes.read(tx, cx.app_id, collection, key);
        const { put, result } = decide(previous);
        const { value, expires_at } = put ?? { value: null, expires_at: null };
        const change = { collection, key, previous, value, expires_at };
        const version = await writes.replace(tx, cx, change);
        if (version !== null) return result(version);
      }
      throw new PicError("unavailable", "The value is changing too fast; try again");
    };
    return usage.within(cx.app_id, () => db.tx(attempt, { seen: cx.seen }));
  }
}

function isVersion(previous: StoredRecord | null, version: number | null): boolean {
  return version === null || (previous?.version ?? 0) === version;
}

function versionConflict(current: StoredRecord | null): PicError {
  const has = current === null ? "there is no entry" : `it has version ${current.version}`;
  return new PicError("kv_version_conflict", `The entry is not at the version asked for: ${has}`);
}

function sumOf(old_json: string | null, by: number): number {
  const old: unknown = old_json === null ? 0 : JSON.parse(old_json);
  if (!isFiniteNumber(old)) throw new PicError("kv_not_a_number", "The value is not a number");
  const sum = old + by;
  if (!isFiniteNumber(sum)) throw new PicError("kv_not_a_number", "The sum is not a finite number");
  return sum;
}

/** Values, or null, in the order of the keys. */
async function getMany(
  { db, clock }: KvBindingOptions,
  turns: ListTurns,
  cx: BindingContext,
  args: unknown,
): Promise<unknown[]> {
  const collection = kvCollection(member(args, "collection"));
  const keys = kvKeys(member(args, "keys"));
  if (keys.length === 0) return [];
  const now = clock.now();
  const wanted = { keys: [...new Set(keys)], now, valueBytesMax: kvManyShortBytesMax };
  const rows = await getShortKv(db, cx.app_id, collection, wanted, cx.seen);
  const values = new Map<string, string>();
  const long: string[] = [];
  for (const { key, value } of rows) {
    if (value === null) long.push(key);
    else values.set(key, value);
  }
  let length = 0;
  for (let from = 0; from < long.length && length <= kvManyBytesMax; from += kvListScanRowsMax) {
    const part = { keys: long.slice(from, from + kvListScanRowsMax), now };
    const read = () => scanKv(db, cx.app_id, collection, part, cx.seen);
    for (const { key, value } of await turns.run(cx.app_id, read)) {
      values.set(key, value);
      length += value.length;
    }
  }
  // A key may be asked for twice.
  const asked = keys.reduce((sum, key) => sum + (values.get(key)?.length ?? 0), 0);
  if (Math.max(length, asked) > kvManyBytesMax) {
    throw new PicError(
      "kv_value_too_large",
      `The values are longer than ${kvManyBytesMax} bytes together: ask for fewer`,
    );
  }
  return keys.map((key) => {
    const value = values.get(key);
    return value === undefined ? null : (JSON.parse(value) as unknown);
  });
}

/**
 * Items by key, from the one after the cursor's. A page may end before `limit` because its values
 * are large; only `nextCursor: null` means that there are no more.
 */
async function list(
  { db, clock }: KvBindingOptions,
  cx: BindingContext,
  args: unknown,
): Promise<{ items: KvItem[]; nextCursor: string | null }> {
  const collection = kvCollection(member(args, "collection"));
  const prefix = kvPrefix(member(args, "prefix"));
  const limit = kvLimit(member(args, "limit"));
  let after = kvCursorKey(member(args, "cursor"));
  const now = clock.now();
  const items: KvItem[] = [];
  let bytes = 0;
  while (true) {
    const scanned = Math.min(kvListScanRowsMax, limit + 1 - items.length);
    const range = { prefix, limit: scanned, after, now };
    const rows = await listKv(db, cx.app_id, collection, range, cx.seen);
    for (const row of rows) {
      const isFull = items.length === limit || (items.length > 0 && bytes >= kvListBytesMax);
      if (isFull) return { items, nextCursor: kvCursorAfter((items.at(-1) as KvItem).key) };
      items.push(item(row));
      bytes += row.value.length;
      after = row.key;
    }
    if (rows.length < scanned) return { items, nextCursor: null };
  }
}

function item({ key, value, version }: Omit<KvEntry, "expires_at">): KvItem {
  return { key, value: JSON.parse(value) as unknown, version };
}
