/** The typed client's calls about the data of apps. */
import { type ApiCalls, type PageOptions, part } from "./client-calls.ts";
import type {
  ImportSettings,
  WireClearedRecords,
  WireDataCollection,
  WireImportCounts,
} from "./schema/data.ts";
import type {
  CountInput,
  DocumentInput,
  DocumentPatch,
  DocumentReplacement,
  documentQuery,
  ExplainInput,
  FindInput,
  IndexInput,
  WireDocument,
  WireDocumentIndex,
  WireDocumentWritten,
  WireExplanation,
} from "./schema/data-docs.ts";
import type { KvEntryInput, WireKvEntry, WireKvWritten } from "./schema/data-kv.ts";
import type { WirePage } from "./schema/pages.ts";

type DocumentPlace = typeof documentQuery.infer;

export function dataCalls(calls: ApiCalls) {
  const { call } = calls;
  return {
    /** An app's entries. @param app id or slug */
    kv: {
      ...dataCallsOf(calls, "kv"),
      entries: (app: string, asked: { collection: string; prefix?: string } & PageOptions) =>
        call<WirePage<WireKvEntry>>("GET", `/apps/${part(app)}/kv/entries`, {
          query: { ...asked },
        }),
      get: (app: string, place: { collection: string; key: string }) =>
        call<WireKvEntry>("GET", `/apps/${part(app)}/kv/entry`, { query: place }),
      set: (app: string, input: KvEntryInput) =>
        call<WireKvWritten>("PUT", `/apps/${part(app)}/kv/entry`, { body: input }),
      delete: (app: string, place: { collection: string; key: string; if_version?: number }) =>
        call<void>("DELETE", `/apps/${part(app)}/kv/entry`, { query: place }),
    },
    /** An app's documents. @param app id or slug */
    docs: {
      ...dataCallsOf(calls, "docs"),
      find: (app: string, input: FindInput) =>
        call<WirePage<WireDocument>>("POST", `/apps/${part(app)}/docs/find`, { body: input }),
      count: (app: string, input: CountInput) =>
        call<{ count: number }>("POST", `/apps/${part(app)}/docs/count`, { body: input }),
      explain: (app: string, input: ExplainInput) =>
        call<WireExplanation>("POST", `/apps/${part(app)}/docs/explain`, { body: input }),
      get: (app: string, place: DocumentPlace) =>
        call<WireDocument>("GET", `/apps/${part(app)}/docs/document`, { query: { ...place } }),
      insert: (app: string, input: DocumentInput) =>
        call<WireDocumentWritten>("POST", `/apps/${part(app)}/docs/document`, { body: input }),
      replace: (app: string, input: DocumentReplacement) =>
        call<WireDocumentWritten>("PUT", `/apps/${part(app)}/docs/document`, { body: input }),
      patch: (app: string, input: DocumentPatch) =>
        call<WireDocumentWritten>("PATCH", `/apps/${part(app)}/docs/document`, { body: input }),
      delete: (app: string, place: DocumentPlace & { if_version?: number }) =>
        call<void>("DELETE", `/apps/${part(app)}/docs/document`, { query: { ...place } }),
      indexes: (app: string, collection: string) =>
        call<{ items: WireDocumentIndex[] }>("GET", `/apps/${part(app)}/docs/indexes`, {
          query: { collection },
        }),
      createIndex: (app: string, input: IndexInput) =>
        call<WireDocumentIndex>("POST", `/apps/${part(app)}/docs/indexes`, { body: input }),
      dropIndex: (app: string, input: IndexInput) =>
        call<void>("DELETE", `/apps/${part(app)}/docs/indexes`, { query: { ...input } }),
    },
  };
}

/** What entries and documents have in common. */
function dataCallsOf({ call, send }: ApiCalls, source: "kv" | "docs") {
  const all = (app: string) => `/apps/${part(app)}/${source}`;
  return {
    collections: (app: string, page: PageOptions = {}) =>
      call<WirePage<WireDataCollection>>("GET", all(app), { query: { ...page } }),
    /** A bounded number of records: again while the answer says that there are more. */
    clear: (app: string, asked: { collection: string; confirm: string; emit?: boolean }) =>
      call<WireClearedRecords>("DELETE", `${all(app)}/collection`, { query: asked }),
    /** JSON Lines. Reading them throws when the export was cut off. */
    export: async (app: string, asked: { collection?: string } = {}): Promise<Response> =>
      send("GET", `${all(app)}/export`, { query: asked }),
    import: async (
      app: string,
      lines: Blob | ReadableStream<Uint8Array> | string,
      options: ImportSettings = {},
    ): Promise<WireImportCounts> => {
      const sent = { lines, query: { ...options } };
      const response = await send("POST", `${all(app)}/import`, sent);
      return (await response.json()) as WireImportCounts;
    },
  };
}
