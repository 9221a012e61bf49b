/** An app's entries, for people: the checks of names and values are those of scripts. */
import type { Clock } from "../base/clock.ts";
import {
  kvCollection,
  kvExpiry,
  kvPlace,
  kvPrefix,
  kvValueJson,
} from "../bindings/kv-arguments.ts";
import type { Actor } from "../domain/accounts.ts";
import type { DataRecord } from "../domain/data.ts";
import { PicError } from "../domain/errors.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import type { Database } from "../storage/port.ts";
import { findApp } from "./apps.ts";
import type { ClearedRecords, CollectionSize, DataRecords } from "./data-records.ts";

export interface DataKvOptions {
  db: Database;
  clock: Clock;
  records: DataRecords;
}

export interface EntryInput {
  collection: string;
  key: string;
  value: unknown;
  /** From now; null: never expires; absent: as it did. */
  ttl_seconds?: number | null;
  /** 0: there must be none. */
  if_version?: number;
}

/** All take an app's id or slug, and throw PicError `not_found` when there is no such app. */
export class DataKv {
  constructor(private readonly options: DataKvOptions) {}

  /** By name. Throws PicError `invalid`. */
  async collections(app: string, page: PageRequest): Promise<Page<CollectionSize>> {
    return this.options.records.collections(await this.#idOf(app), page);
  }

  /** By key. Throws PicError `kv_invalid_key`, `invalid`. */
  async entries(
    app: string,
    asked: { collection: string; prefix?: string },
    page: PageRequest,
  ): Promise<Page<DataRecord>> {
    const app_id = await this.#idOf(app);
    const collection = kvCollection(asked.collection);
    return this.options.records.list(app_id, { collection, prefix: kvPrefix(asked.prefix) }, page);
  }

  /** Throws PicError `kv_invalid_key`, `not_found`. */
  async get(app: string, asked: { collection: string; key: string }): Promise<DataRecord> {
    const app_id = await this.#idOf(app);
    const found = await this.options.records.get(app_id, kvPlace(asked));
    if (found === null) throw noEntry();
    return found;
  }

  /**
   * Resolves to the new version. Throws PicError `kv_invalid_key`, `kv_invalid_value`,
   * `kv_value_too_large`, `kv_version_conflict`, `quota_exceeded`, `invalid`.
   */
  async set(actor: Actor, app: string, input: EntryInput): Promise<number> {
    const { clock, records } = this.options;
    const app_id = await this.#idOf(app);
    const place = kvPlace(input);
    const value = kvValueJson(input.value);
    const { ttl_seconds, if_version = null } = input;
    const expiry = kvExpiry(ttl_seconds, clock.now());
    return records.edit(actor, app_id, {
      action: "kv.set",
      ...place,
      value: () => value,
      expires_at: (previous) =>
        ttl_seconds === undefined ? (previous?.expires_at ?? null) : expiry,
      if_version,
    });
  }

  /** Throws PicError `kv_invalid_key`, `kv_version_conflict`, `not_found`. */
  async delete(
    actor: Actor,
    app: string,
    asked: { collection: string; key: string; if_version: number | null },
  ): Promise<void> {
    const app_id = await this.#idOf(app);
    await this.options.records.edit(actor, app_id, {
      action: "kv.delete",
      ...kvPlace(asked),
      value: (previous) => {
        if (previous === null) throw noEntry();
        return null;
      },
      if_version: asked.if_version,
    });
  }

  /** Throws PicError `kv_invalid_key`. */
  async clear(
    actor: Actor,
    app: string,
    { collection, emit }: { collection: string; emit: boolean },
  ): Promise<ClearedRecords> {
    const app_id = await this.#idOf(app);
    const name = kvCollection(collection);
    return this.options.records.clear(actor, app_id, { collection: name, emit });
  }

  async #idOf(app: string): Promise<string> {
    return (await findApp(this.options.db, app)).id;
  }
}

function noEntry(): PicError {
  return new PicError("not_found", "There is no such entry");
}
