/** An app's documents on the wire, as people see and edit them. Queries are judged by the rules of scripts. */
import { type } from "./arktype.ts";
import { ifVersion } from "./data.ts";

const object = type({ "[string]": "unknown" });

export const document = type({
  id: "string",
  value: object,
  version: "number.integer >= 1",
  updated_at: "string",
});
export type WireDocument = typeof document.infer;

/** An answer to a query: what is asked stands in the body, the cursor, too. */
export const foundDocuments = type({ items: document.array(), next_cursor: "string | null" });

export const documentQuery = type({ "+": "reject", collection: "string", id: "string" });
export const documentDeleteQuery = documentQuery.merge({ "+": "reject", "if_version?": ifVersion });

export const findInput = type({
  "+": "reject",
  collection: "string",
  "where?": "unknown",
  "sort?": "unknown",
  "limit?": "number.integer",
  "cursor?": "string | null",
});
export type FindInput = typeof findInput.infer;

export const countInput = type({ "+": "reject", collection: "string", "where?": "unknown" });
export type CountInput = typeof countInput.infer;
export const documentCount = type({ count: "number.integer >= 0" });

export const explainInput = countInput.merge({ "+": "reject", "sort?": "unknown" });
export type ExplainInput = typeof explainInput.infer;

/** `index` is the field whose index serves; null: the whole collection is read. */
export const explanation = type({
  index: "string | null",
  serves: type("'where' | 'sort'").array(),
  scan: "boolean",
  sorts_in_memory: "boolean",
  order: type({ "[string]": "1 | -1" }),
});
export type WireExplanation = typeof explanation.infer;

/** Without an `id` in it, the document gets one. */
export const documentInput = type({ "+": "reject", collection: "string", value: "unknown" });
export type DocumentInput = typeof documentInput.infer;

export const documentReplacement = documentInput.merge({
  "+": "reject",
  id: "string",
  "if_version?": "number.integer >= 1",
});
export type DocumentReplacement = typeof documentReplacement.infer;

export const documentPatch = documentQuery.merge({
  "+": "reject",
  patch: "unknown",
  "if_version?": "number.integer >= 1",
});
export type DocumentPatch = typeof documentPatch.infer;

export const documentWritten = type({ id: "string", version: "number.integer >= 1" });
export type WireDocumentWritten = typeof documentWritten.infer;

export const documentIndex = type({
  field: "string",
  state: "'building' | 'ready' | 'dropping'",
  created_at: "string",
});
export type WireDocumentIndex = typeof documentIndex.infer;
/** All of them: there are few. */
export const documentIndexes = type({ items: documentIndex.array() });

export const indexesQuery = type({ "+": "reject", collection: "string" });
export const indexQuery = type({ "+": "reject", collection: "string", field: "string" });
export type IndexInput = typeof indexQuery.infer;

/** One line of an export or an import. The document's id may stand in it alone. */
export const documentLine = type({ collection: "string", "id?": "string", value: object });
