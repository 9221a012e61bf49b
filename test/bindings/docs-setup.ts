/** The binding of documents on a database, with what it emits in an array, and checks of its indexes. */
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createDocsBinding } from "../../src/bindings/docs.ts";
import { createDocsWrites } from "../../src/bindings/docs-writes.ts";
import type { DataChange, Emission } from "../../src/bindings/emission.ts";
import { Usage } from "../../src/bindings/usage.ts";
import type { BindingContext } from "../../src/domain/bindings.ts";
import { keysOf, nameOf } from "../../src/domain/doc-index-keys.ts";
import { type DocObject, parsePath } from "../../src/domain/doc-values.ts";
import { PicError } from "../../src/domain/errors.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";

/** Room for any index. */
export const unlimited = { admit: () => null, add: () => {} };

export type Args = Record<string, unknown>;

export interface Found {
  items: DocObject[];
  nextCursor: string | null;
}

export interface DocsSetup {
  /** Of app 1, in collection "c", unless `args` or `app` say otherwise. */
  call<T = unknown>(method: string, args?: Args, app?: string): Promise<T>;
  /** All pages of a find. */
  findAll(args: Args): Promise<DocObject[]>;
  events: DataChange[];
  usage: Usage;
  methods: string[];
}

export function setupDocs(
  db: Database,
  options: { emits?: boolean; rows_max?: number; bytes_max?: number } = {},
): DocsSetup {
  const events: DataChange[] = [];
  const clock = systemClock;
  const { emits = false, rows_max = 1_000_000, bytes_max = 2 ** 40 } = options;
  const usage = new Usage({ db, clock, log: silentLogger, rows_max, bytes_max });
  // Of the class only what writes use.
  const emission = {
    isNeeded: () => emits,
    emit: async (tx, _cx, change) => {
      tx.afterCommit(() => void events.push(change));
      return 1;
    },
  } as Pick<Emission, "isNeeded" | "emit"> as Emission;
  const writes = createDocsWrites({ clock, emission, usage });
  let made = 0;
  const newId = () => {
    made += 1;
    return `id-${String(made).padStart(6, "0")}`;
  };
  const binding = createDocsBinding({ db, clock, newId, emission, usage, writes });
  const call = async <T>(method: string, args: Args = {}, app_id = "app-1"): Promise<T> => {
    const cx: BindingContext = {
      app_id,
      script_id: "script-1",
      execution_id: "execution-1",
      delivery: null,
      seen: { seq: 0 },
    };
    const found = binding.methods[method];
    if (found === undefined) throw new Error(`there is no docs.${method}`);
    const value = await found.call(cx, JSON.parse(JSON.stringify({ collection: "c", ...args })));
    return value as T;
  };
  const findAll = async (args: Args): Promise<DocObject[]> => {
    const all: DocObject[] = [];
    let cursor: string | null = null;
    do {
      const page: Found = await call("find", { ...args, cursor });
      all.push(...page.items);
      cursor = page.nextCursor;
    } while (cursor !== null);
    return all;
  };
  return { call, findAll, events, usage, methods: Object.keys(binding.methods) };
}

export const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => ({ resolved: value }),
    (error) => (error instanceof PicError ? error.code : error),
  );

/** What differs between the entries of all indexes and those that the documents should have; each once. */
export async function entryFaults(db: Database): Promise<string[]> {
  const docs = await db.all(
    sql<{ app_id: string; collection: string; id: string; value: string }>`
      select app_id, collection, id, value from docs`,
  );
  const indexes = await db.all(
    sql<{ app_id: string; collection: string; field: string; state: string }>`
      select app_id, collection, field, state from doc_indexes where state = 'ready'`,
  );
  const expected = indexes.flatMap((index) =>
    docs
      .filter(
        ({ app_id, collection }) => app_id === index.app_id && collection === index.collection,
      )
      .flatMap(({ id, value }) => {
        const path = parsePath(index.field);
        if (path === null) throw new Error("a path that is too long");
        const keys = keysOf(JSON.parse(value) as DocObject, path);
        return keys.map((key) => placeOf(index, nameOf(key), id));
      }),
  );
  const rows = await db.all(
    sql<{
      app_id: string;
      collection: string;
      field: string;
      type: number;
      number: number;
      text: string;
      doc_id: string;
    }>`select app_id, collection, field, type, number, text, doc_id from doc_index_entries`,
  );
  const found = rows.map((row) => placeOf(row, nameOf(row), row.doc_id));
  return [
    ...expected.filter((one) => !found.includes(one)).map((one) => `missing ${one}`),
    ...found.filter((one) => !expected.includes(one)).map((one) => `stale ${one}`),
  ];
}

function placeOf(
  { app_id, collection, field }: { app_id: string; collection: string; field: string },
  key: string,
  id: string,
): string {
  return JSON.stringify([app_id, collection, field, key, id]);
}
