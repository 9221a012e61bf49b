/**
 * `docs`: documents of an app, by collection and id. The app comes from the execution; every argument
 * comes from the script and is checked, member by member (docs-arguments.ts, domain/doc-query.ts).
 *
 * A write reads what is there, and puts the new document in its very place: previous values of events,
 * index entries and versions are exact, whoever else writes. With one writer, and neither triggers nor
 * indexes, that is one statement; else a transaction (docs-writes.ts).
 */
import type { Clock } from "../base/clock.ts";
import type { Binding, BindingContext, BindingMethod } from "../domain/bindings.ts";
import { type DocObject, mergePatch } from "../domain/doc-values.ts";
import { PicError } from "../domain/errors.ts";
import {
  dataWriteTriesMax,
  docIndexesPerAppMax,
  docIndexesPerCollectionMax,
} from "../domain/limits.ts";
import {
  beginDocIndex,
  beginDocIndexDrop,
  countDocIndexes,
  type DocIndex,
  type DocIndexPlace,
  docIndexesChannel,
  listDocIndexes,
  lockDocs,
  stepDocIndex,
} from "../storage/doc-indexes.ts";
import {
  type DocPlace,
  type DocRecord,
  deletePlainDoc,
  getDoc,
  insertPlainDoc,
  updatePlainDoc,
} from "../storage/docs.ts";
import type { Database, Tx } from "../storage/port.ts";
import {
  docsCollection,
  docsDocument,
  docsField,
  docsIfVersion,
  docsMember,
  docsObject,
  docsPlace,
} from "./docs-arguments.ts";
import { countFound, explainFind, findDocs } from "./docs-find.ts";
import { docsDelta } from "./docs-writes.ts";
import type { Emission } from "./emission.ts";
import type { RecordChange, RecordWrites } from "./kv-writes.ts";
import { ListTurns } from "./turns.ts";
import type { Usage } from "./usage.ts";

export interface DocsBindingOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  emission: Emission;
  usage: Usage;
  writes: RecordWrites;
}

export function createDocsBinding(options: DocsBindingOptions): Binding {
  const { db } = options;
  const turns = new ListTurns();
  const writer = new DocsWriter(options);
  const indexes = new DocsIndexes(options);
  const read = (cx: BindingContext, args: unknown) =>
    getDoc(db, { app_id: cx.app_id, ...docsPlace(args) }, cx.seen);
  return {
    name: "docs",
    methods: {
      get: reading(async (cx, args) => {
        const row = await read(cx, args);
        return row === null ? null : (JSON.parse(row.value) as unknown);
      }),
      getEntry: reading(async (cx, args) => {
        const row = await read(cx, args);
        if (row === null) return null;
        const value = JSON.parse(row.value) as unknown;
        return { id: docsPlace(args).id, value, version: row.version };
      }),
      find: reading((cx, args) => turns.run(cx.app_id, () => findDocs(options, cx, args))),
      count: reading((cx, args) => turns.run(cx.app_id, () => countFound(options, cx, args))),
      explain: reading((cx, args) => turns.run(cx.app_id, () => explainFind(options, cx, args))),
      indexes: reading((cx, args) => indexes.list(cx, args)),
      insert: writing((cx, args) => writer.insert(cx, args)),
      replace: writing((cx, args) => writer.replace(cx, args)),
      patch: writing((cx, args) => writer.patch(cx, args)),
      delete: writing((cx, args) => writer.delete(cx, args)),
      createIndex: writing((cx, args) => indexes.create(cx, args)),
      dropIndex: writing((cx, args) => indexes.drop(cx, args)),
    },
  };
}

function reading(call: BindingMethod["call"]): BindingMethod {
  return { effect: false, call };
}

function writing(call: BindingMethod["call"]): BindingMethod {
  return { effect: true, call };
}

class DocsWriter {
  constructor(private readonly options: DocsBindingOptions) {}

  async insert(cx: BindingContext, args: unknown): Promise<DocObject> {
    const { newId } = this.options;
    const collection = docsCollection(docsMember(args, "collection"));
    const given = docsMember(args, "document");
    const { id, document, json } = docsDocument(given, { id: newId(), isFixed: false });
    const change = { collection, key: id, previous: null, value: json };
    if ((await this.#write(cx, change)) === null) {
      throw new PicError("docs_exists", "There is a document with this id");
    }
    return document;
  }

  async replace(cx: BindingContext, args: unknown): Promise<DocObject> {
    const { id } = docsPlace(args);
    const given = docsMember(args, "document");
    const { document, json } = docsDocument(given, { id, isFixed: true });
    return this.#change(cx, args, (previous) => {
      if (previous === null) throw notFound();
      return { value: json, result: document };
    });
  }

  async patch(cx: BindingContext, args: unknown): Promise<DocObject> {
    const { id } = docsPlace(args);
    const changes = docsObject(docsMember(args, "changes"), "The changes");
    if (Object.hasOwn(changes, "id") && changes.id !== id) {
      throw new PicError("docs_invalid_id", "The id of a document cannot be changed");
    }
    return this.#change(cx, args, (previous) => {
      if (previous === null) throw notFound();
      const merged = mergePatch(JSON.parse(previous.value) as DocObject, changes);
      const { document, json } = docsDocument(merged, { id, isFixed: true });
      return { value: json, result: document };
    });
  }

  async delete(cx: BindingContext, args: unknown): Promise<boolean> {
    return this.#change(cx, args, (previous) => ({ value: null, result: previous !== null }));
  }

  /** Reads and writes, again when another write came between. */
  async #change<T>(
    cx: BindingContext,
    args: unknown,
    next: (previous: DocRecord | null) => { value: string | null; result: T },
  ): Promise<T> {
    const { collection, id } = docsPlace(args);
    const ifVersion = docsIfVersion(docsMember(args, "ifVersion"));
    const place = { app_id: cx.app_id, collection, id };
    for (let tries = 0; tries < dataWriteTriesMax; tries += 1) {
      const previous = await getDoc(this.options.db, place, cx.seen);
      if (previous !== null && ifVersion !== null && previous.version !== ifVersion) {
        throw new PicError(
          "docs_version_conflict",
          `The document has version ${previous.version}, not ${ifVersion}`,
        );
      }
      const { value, result } = next(previous);
      if (previous === null && value === null) return result;
      const version = await this.#write(cx, { collection, key: id, previous, value });
      if (version !== null) return result;
    }
    throw new PicError("unavailable", "The document is changing too fast; try again");
  }

  /** The new version, 0 for deleted; null when something else is there by now. */
  async #write(cx: BindingContext, change: RecordChange): Promise<number | null> {
    const { db, emission, usage, writes } = this.options;
    if (!db.isShared && !emission.isNeeded(cx.app_id, "docs", change.collection)) {
      const version = await this.#writePlain(cx, change);
      if (version !== null) return version;
    }
    return usage.within(cx.app_id, () =>
      db.tx((tx) => writes.replace(tx, cx, change), { seen: cx.seen }),
    );
  }

  /** Null, too, when the collection has an index. */
  async #writePlain(cx: BindingContext, change: RecordChange): Promise<number | null> {
    const { db, clock, usage } = this.options;
    const { app_id } = cx;
    const { collection, key, value, previous } = change;
    const delta = docsDelta(collection, key, previous?.value ?? null, value);
    const wait = value === null ? null : usage.admit(app_id, delta);
    if (wait !== null) await wait;
    const place: DocPlace = { app_id, collection, id: key };
    const writer = db.autocommit(cx.seen);
    let version: number | null;
    if (value === null) {
      version = (await deletePlainDoc(writer, place, previous as DocRecord)) ? 0 : null;
    } else {
      const now = clock.now();
      version =
        previous === null
          ? (await insertPlainDoc(writer, place, { value, now }))
            ? 1
            : null
          : await updatePlainDoc(writer, place, { previous, value, now });
    }
    if (version !== null) usage.add(app_id, delta);
    return version;
  }
}

/** Indexes of a collection, as scripts see them. */
interface IndexState {
  field: string;
  state: "building" | "ready";
}

export class DocsIndexes {
  constructor(private readonly options: Pick<DocsBindingOptions, "db" | "clock" | "usage">) {}

  async list(cx: BindingContext, args: unknown): Promise<IndexState[]> {
    const collection = docsCollection(docsMember(args, "collection"));
    const all = await listDocIndexes(this.options.db, cx.app_id, collection, cx.seen);
    return all.flatMap(stateOf);
  }

  /**
   * What is there already stays. A small collection is indexed at once.
   * @param onChange in the same transaction, when there was none
   */
  async create(
    cx: BindingContext,
    args: unknown,
    onChange?: (tx: Tx, place: DocIndexPlace) => Promise<void>,
  ): Promise<IndexState> {
    const { db, usage } = this.options;
    const place = placeOf(cx, args);
    const { app_id, collection, field } = place;
    const create = async (tx: Tx): Promise<IndexState> => {
      await lockDocs(tx, app_id, collection, "exclusive");
      const all = await listDocIndexes(tx, app_id, collection);
      const old = all.find((index) => index.field === field);
      const [known] = old === undefined ? [] : stateOf(old);
      if (known !== undefined) return known;
      if (old === undefined) await checkLimits(tx, app_id, all.length);
      await beginDocIndex(tx, place, this.options.clock.now());
      const state = (await this.#step(tx, place)) ? "ready" : "building";
      await onChange?.(tx, place);
      return { field, state };
    };
    return usage.within(app_id, () => db.tx(create, { seen: cx.seen }));
  }

  /** True when there was one. A large one goes in the background. @param onChange as for `create` */
  async drop(
    cx: BindingContext,
    args: unknown,
    onChange?: (tx: Tx, place: DocIndexPlace) => Promise<void>,
  ): Promise<boolean> {
    const place = placeOf(cx, args);
    return this.options.db.tx(
      async (tx) => {
        await lockDocs(tx, place.app_id, place.collection, "exclusive");
        if (!(await beginDocIndexDrop(tx, place))) return false;
        await this.#step(tx, place);
        await onChange?.(tx, place);
        return true;
      },
      { seen: cx.seen },
    );
  }

  /** False: the rest is done by the builder (background/doc-indexes.ts), which is told. */
  async #step(tx: Tx, place: DocIndexPlace): Promise<boolean> {
    const { db, usage } = this.options;
    const { isDone, bytes } = await stepDocIndex(tx, place);
    usage.take(tx, place.app_id, { rows: 0, bytes });
    if (!isDone) await db.notify(tx, docIndexesChannel, place.app_id);
    return isDone;
  }
}

function placeOf(cx: BindingContext, args: unknown): DocIndexPlace {
  const collection = docsCollection(docsMember(args, "collection"));
  return { app_id: cx.app_id, collection, field: docsField(docsMember(args, "field")).text };
}

/** None for one that is dropped: to a script it is gone. */
function stateOf({ field, state }: DocIndex): IndexState[] {
  return state === "dropping" ? [] : [{ field, state }];
}

async function checkLimits(tx: Tx, app_id: string, count: number): Promise<void> {
  if (count >= docIndexesPerCollectionMax) {
    throw new PicError(
      "docs_index_limit",
      `A collection has ${docIndexesPerCollectionMax} indexes at most, those that are being dropped included`,
    );
  }
  if ((await countDocIndexes(tx, app_id)) >= docIndexesPerAppMax) {
    throw new PicError("docs_index_limit", `An app has ${docIndexesPerAppMax} indexes at most`);
  }
}

function notFound(): PicError {
  return new PicError("docs_not_found", "There is no document with this id");
}
