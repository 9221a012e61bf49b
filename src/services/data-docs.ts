/** An app's documents, for people: the checks of names, values and queries are those of scripts. */
import type { Clock } from "../base/clock.ts";
import type { DocsIndexes } from "../bindings/docs.ts";
import { docsCollection, docsDocument, docsObject, docsPlace } from "../bindings/docs-arguments.ts";
import type { DocsExplanation, FoundDocs } from "../bindings/docs-find.ts";
import type { StoredRecord } from "../bindings/kv-writes.ts";
import type { Actor } from "../domain/accounts.ts";
import type { Binding, BindingContext } from "../domain/bindings.ts";
import type { DataRecord } from "../domain/data.ts";
import { type DocObject, mergePatch } from "../domain/doc-values.ts";
import { PicError } from "../domain/errors.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import { getRecords } from "../storage/data.ts";
import { type DocIndex, type DocIndexPlace, listDocIndexes } from "../storage/doc-indexes.ts";
import type { Database, Tx } from "../storage/port.ts";
import { findApp } from "./apps.ts";
import type { Audit } from "./audit.ts";
import {
  type ClearedRecords,
  type CollectionSize,
  type DataRecords,
  editContext,
} from "./data-records.ts";

export interface DataDocsOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  records: DataRecords;
  /** What scripts call: finds. */
  docs: Binding;
  indexes: DocsIndexes;
  audit: Audit;
}

export interface DocumentPlace {
  collection: string;
  id: string;
}

export interface FindInput {
  collection: string;
  where?: unknown;
  sort?: unknown;
  limit?: number;
  cursor?: string | null;
}

export interface WrittenDocument {
  id: string;
  version: number;
}

export type ListedIndex = Pick<DocIndex, "field" | "state" | "created_at">;

/**
 * All take an app's id or slug, and throw PicError `not_found` when there is no such app, and
 * `docs_invalid_id` for names that can be none.
 */
export class DataDocs {
  constructor(private readonly options: DataDocsOptions) {}

  /** By name. Throws PicError `invalid`. */
  async collections(app: string, page: PageRequest): Promise<Page<CollectionSize>> {
    return this.options.records.collections(await this.#idOf(app), page);
  }

  /**
   * What a script would find, with versions and times; what was deleted meanwhile is left out. Throws
   * PicError `docs_invalid_query`, `docs_query_too_large`, `invalid`.
   */
  async find(app: string, request_id: string, asked: FindInput): Promise<Page<DataRecord>> {
    const { db, clock } = this.options;
    const cx = editContext(await this.#idOf(app), { request_id });
    const found = await this.#ask<FoundDocs>("find", cx, asked);
    // A document has its id as a member.
    const keys = found.items.map(({ id }) => id as string);
    const place = { app_id: cx.app_id, collection: asked.collection, now: clock.now() };
    const rows = await getRecords(db, "docs", { ...place, keys });
    const byId = new Map(rows.map((row) => [row.key, row]));
    return { items: keys.flatMap((id) => byId.get(id) ?? []), next_cursor: found.nextCursor };
  }

  /** Throws PicError `docs_invalid_query`, `docs_query_too_large`. */
  async count(
    app: string,
    request_id: string,
    asked: { collection: string; where?: unknown },
  ): Promise<number> {
    const cx = editContext(await this.#idOf(app), { request_id });
    return this.#ask<number>("count", cx, asked);
  }

  /** Throws PicError `docs_invalid_query`. */
  async explain(
    app: string,
    request_id: string,
    asked: { collection: string; where?: unknown; sort?: unknown },
  ): Promise<DocsExplanation> {
    const cx = editContext(await this.#idOf(app), { request_id });
    return this.#ask<DocsExplanation>("explain", cx, asked);
  }

  /** Throws PicError `docs_not_found`. */
  async get(app: string, asked: DocumentPlace): Promise<DataRecord> {
    const app_id = await this.#idOf(app);
    const { collection, id } = docsPlace(asked);
    const found = await this.options.records.get(app_id, { collection, key: id });
    if (found === null) throw noDocument();
    return found;
  }

  /** Throws PicError `docs_exists`, `docs_invalid_value`, `docs_value_too_large`, `quota_exceeded`. */
  async insert(
    actor: Actor,
    app: string,
    input: { collection: string; value: unknown },
  ): Promise<WrittenDocument> {
    const app_id = await this.#idOf(app);
    const collection = docsCollection(input.collection);
    const { id, json } = docsDocument(input.value, { id: this.options.newId(), isFixed: false });
    const value = (previous: StoredRecord | null): string => {
      if (previous === null) return json;
      throw new PicError("docs_exists", "There is a document with this id already");
    };
    const edit = { action: "docs.insert", collection, key: id, value, if_version: null };
    return { id, version: await this.options.records.edit(actor, app_id, edit) };
  }

  /**
   * Throws PicError `docs_not_found`, `docs_version_conflict`, `docs_invalid_value`,
   * `docs_value_too_large`, `quota_exceeded`.
   */
  async replace(
    actor: Actor,
    app: string,
    input: DocumentPlace & { value: unknown; if_version?: number },
  ): Promise<WrittenDocument> {
    const { id } = docsPlace(input);
    const { json } = docsDocument(input.value, { id, isFixed: true });
    return this.#edit(actor, app, { ...input, action: "docs.replace", change: () => json });
  }

  /** A JSON merge patch (RFC 7396). Throws PicError as `replace`. */
  async patch(
    actor: Actor,
    app: string,
    input: DocumentPlace & { patch: unknown; if_version?: number },
  ): Promise<WrittenDocument> {
    const { id } = docsPlace(input);
    const patch = docsObject(input.patch, "A patch");
    const change = (previous: string): string => {
      const patched = mergePatch(JSON.parse(previous) as DocObject, patch);
      return docsDocument(patched, { id, isFixed: true }).json;
    };
    return this.#edit(actor, app, { ...input, action: "docs.patch", change });
  }

  /** Throws PicError `docs_not_found`, `docs_version_conflict`. */
  async delete(
    actor: Actor,
    app: string,
    asked: DocumentPlace & { if_version?: number },
  ): Promise<void> {
    await this.#edit(actor, app, { ...asked, action: "docs.delete", change: () => null });
  }

  async clear(
    actor: Actor,
    app: string,
    { collection, emit }: { collection: string; emit: boolean },
  ): Promise<ClearedRecords> {
    const app_id = await this.#idOf(app);
    const name = docsCollection(collection);
    return this.options.records.clear(actor, app_id, { collection: name, emit });
  }

  /** By field. */
  async indexes(app: string, collection: string): Promise<ListedIndex[]> {
    return listDocIndexes(this.options.db, await this.#idOf(app), docsCollection(collection));
  }

  /** It is built beside the work of scripts. Throws PicError `docs_index_limit`, `invalid`. */
  async createIndex(
    actor: Actor,
    app: string,
    asked: { collection: string; field: string },
  ): Promise<ListedIndex> {
    const { db, indexes } = this.options;
    const cx = editContext(await this.#idOf(app), actor);
    await indexes.create(cx, asked, this.#told(actor, "docs.create_index"));
    await db.durable(cx.seen);
    const all = await listDocIndexes(db, cx.app_id, asked.collection);
    const made = all.find(({ field }) => field === asked.field);
    if (made === undefined) throw new PicError("conflict", "The index was dropped at once");
    return made;
  }

  /** Throws PicError `not_found`, `invalid`. */
  async dropIndex(
    actor: Actor,
    app: string,
    asked: { collection: string; field: string },
  ): Promise<void> {
    const { db, indexes } = this.options;
    const cx = editContext(await this.#idOf(app), actor);
    const wasThere = await indexes.drop(cx, asked, this.#told(actor, "docs.drop_index"));
    await db.durable(cx.seen);
    if (!wasThere) throw new PicError("not_found", "There is no such index");
  }

  /** Changes a document that is there. */
  async #edit(
    actor: Actor,
    app: string,
    {
      action,
      change,
      if_version,
      ...asked
    }: DocumentPlace & {
      action: string;
      change: (previous: string) => string | null;
      if_version?: number;
    },
  ): Promise<WrittenDocument> {
    const app_id = await this.#idOf(app);
    const { collection, id } = docsPlace(asked);
    const version = await this.options.records.edit(actor, app_id, {
      action,
      collection,
      key: id,
      value: (previous) => {
        if (previous === null) throw noDocument();
        return change(previous.value);
      },
      if_version: if_version ?? null,
    });
    return { id, version };
  }

  #told(actor: Actor, action: string) {
    return (tx: Tx, { app_id, collection, field }: DocIndexPlace): Promise<void> => {
      const target = { kind: "index", id: field };
      return this.options.audit.record(tx, actor, {
        ...{ action, target, app_id },
        detail: { collection },
      });
    };
  }

  /** What a script's call answers. */
  async #ask<T>(name: string, cx: BindingContext, args: object): Promise<T> {
    const method = this.options.docs.methods[name];
    if (method === undefined) throw new Error(`the binding has no ${name}`);
    // A binding answers JSON; what it is like is said where it is made.
    return (await method.call(cx, args)) as T;
  }

  async #idOf(app: string): Promise<string> {
    return (await findApp(this.options.db, app)).id;
  }
}

function noDocument(): PicError {
  return new PicError("docs_not_found", "There is no such document");
}
