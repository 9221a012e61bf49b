/** The named schemas of entries and documents (see openapi-schemas.ts). Loaded with the document alone. */
import {
  clearedRecords,
  dataCollection,
  dataCollectionPage,
  importCounts,
  type WireDataCollection,
} from "../../schema/data.ts";
import {
  countInput,
  document,
  documentCount,
  documentIndex,
  documentIndexes,
  documentInput,
  documentLine,
  documentPatch,
  documentReplacement,
  documentWritten,
  explainInput,
  explanation,
  findInput,
  foundDocuments,
  indexQuery,
  type WireDocument,
  type WireDocumentIndex,
} from "../../schema/data-docs.ts";
import {
  kvEntry,
  kvEntryInput,
  kvEntryPage,
  kvLine,
  kvWritten,
  type WireKvEntry,
} from "../../schema/data-kv.ts";
import {
  exampleTime as at,
  exampleIds,
  lastPage,
  type NamedSchema,
  named,
} from "./openapi-examples.ts";

const visits: WireDataCollection = { name: "visits", records: 2, bytes: 11, more: false };

const home: WireKvEntry = {
  key: "home",
  value: 42,
  version: 42,
  updated_at: at,
  expires_at: null,
};

const order: WireDocument = {
  id: exampleIds.document,
  value: { id: exampleIds.document, customer: { city: "Berlin" }, cups: 2 },
  version: 1,
  updated_at: at,
};

const byCity: WireDocumentIndex = { field: "customer.city", state: "ready", created_at: at };
const inBerlin = { collection: "orders", where: { "customer.city": "Berlin" } };

const sharedSchemas = [
  named("Collection", "A collection, counted up to a bound", dataCollection, visits),
  named("CollectionPage", "Collections of an app", dataCollectionPage, {
    items: [visits],
    ...lastPage,
  }),
  named("ClearedRecords", "How many it were, and whether more are left", clearedRecords, {
    count: 1_000,
    more: true,
  }),
  named("ImportCounts", "What became of the lines of an import", importCounts, {
    imported: 2,
    updated: 0,
    skipped: 1,
  }),
];

const kvSchemas = [
  named("KvEntry", "An entry", kvEntry, home),
  named("KvEntryPage", "Entries of a collection", kvEntryPage, { items: [home], ...lastPage }),
  named("KvEntryInput", "An entry to write, in the place of what is there", kvEntryInput, {
    collection: "visits",
    key: "home",
    value: 0,
    if_version: 42,
  }),
  named("KvWritten", "The version that an entry has now", kvWritten, { key: "home", version: 43 }),
  named("KvLine", "A line of an import or an export of entries", kvLine, {
    collection: "visits",
    key: "home",
    value: 42,
  }),
];

const documentSchemas = [
  named("Document", "A document; its id is a member of it, too", document, order),
  named("FoundDocuments", "What was found, and where the next page begins", foundDocuments, {
    items: [order],
    ...lastPage,
  }),
  named("FindInput", "A query, as scripts write it", findInput, {
    ...inBerlin,
    sort: { cups: -1 },
    limit: 20,
  }),
  named("CountInput", "A query to count", countInput, inBerlin),
  named("DocumentCount", "How many documents were found", documentCount, { count: 17 }),
  named("ExplainInput", "A query to explain", explainInput, { ...inBerlin, sort: { cups: -1 } }),
  named("Explanation", "How a query would be answered", explanation, {
    index: "customer.city",
    serves: ["where"],
    scan: false,
    sorts_in_memory: true,
    order: { cups: -1 },
  }),
  named("DocumentInput", "A document to write; without an id it gets one", documentInput, {
    collection: "orders",
    value: { customer: { city: "Berlin" }, cups: 2 },
  }),
  named("DocumentReplacement", "What shall stand there instead", documentReplacement, {
    collection: "orders",
    id: exampleIds.document,
    value: { customer: { city: "Berlin" }, cups: 3 },
    if_version: 1,
  }),
  named("DocumentPatch", "Members to change; null takes one away", documentPatch, {
    collection: "orders",
    id: exampleIds.document,
    patch: { cups: 3 },
  }),
  named("DocumentWritten", "The version that a document has now", documentWritten, {
    id: exampleIds.document,
    version: 2,
  }),
  named("DocumentIndex", "An index of a collection", documentIndex, byCity),
  named("DocumentIndexes", "All indexes of a collection", documentIndexes, { items: [byCity] }),
  named("DocumentIndexInput", "An index to make", indexQuery, {
    collection: "orders",
    field: "customer.city",
  }),
  named("DocumentLine", "A line of an import or an export of documents", documentLine, {
    collection: "orders",
    id: exampleIds.document,
    value: { id: exampleIds.document, customer: { city: "Berlin" }, cups: 2 },
  }),
];

export const dataSchemas: readonly NamedSchema[] = [
  ...sharedSchemas,
  ...kvSchemas,
  ...documentSchemas,
];
