/** `apps/{app}/docs`: an app's documents, for people. */
import type { DataRecord } from "../../domain/data.ts";
import type { ErrorCode } from "../../domain/errors.ts";
import {
  clearedRecords,
  clearQuery,
  dataCollectionPage,
  exportQuery,
  importCounts,
  importQuery,
} from "../../schema/data.ts";
import {
  countInput,
  document,
  documentCount,
  documentDeleteQuery,
  documentIndex,
  documentIndexes,
  documentInput,
  documentLine,
  documentPatch,
  documentQuery,
  documentReplacement,
  documentWritten,
  explainInput,
  explanation,
  findInput,
  foundDocuments,
  indexesQuery,
  indexQuery,
  type WireDocument,
  type WireDocumentIndex,
} from "../../schema/data-docs.ts";
import { pageQuery } from "../../schema/pages.ts";
import type { DataDocs, ListedIndex } from "../../services/data-docs.ts";
import type { DataTransfer } from "../../services/data-transfer.ts";
import { confirmedCollection, exportReply, importOptions } from "./data.ts";
import {
  created,
  type Endpoint,
  endpoint,
  exportEndpoint,
  importEndpoint,
  none,
  ok,
} from "./endpoint.ts";
import { isoTime } from "./times.ts";

export function dataDocsEndpoints(docs: DataDocs, transfer: DataTransfer): Endpoint[] {
  return [
    ...collections(docs),
    ...queries(docs),
    ...documents(docs),
    ...changes(docs),
    ...indexes(docs),
    ...transfers(transfer),
  ];
}

const valueErrors: readonly ErrorCode[] = [
  "docs_invalid_id",
  "docs_invalid_value",
  "docs_value_too_large",
  "quota_exceeded",
];
const queryErrors: readonly ErrorCode[] = ["docs_invalid_id", "docs_invalid_query"];

function collections(docs: DataDocs): Endpoint[] {
  return [
    endpoint({
      operation: "docs.collections",
      method: "GET",
      path: "/apps/:app/docs",
      summary: "The collections of documents of an app, by name, with what they hold",
      action: "data.read",
      input: { query: pageQuery },
      output: dataCollectionPage,
      errors: [],
      handle: async ({ params, page }) => ok(await docs.collections(params.app as string, page)),
    }),
    endpoint({
      operation: "docs.clear",
      method: "DELETE",
      path: "/apps/:app/docs/collection",
      summary: "Delete documents of a collection, a bounded number at a time; without events",
      action: "data.write",
      input: { query: clearQuery },
      output: clearedRecords,
      errors: ["docs_invalid_id"],
      handle: async ({ actor, params, query }) => {
        const cleared = await docs.clear(actor, params.app as string, {
          collection: confirmedCollection(query),
          emit: query.emit === "true",
        });
        return ok(cleared);
      },
    }),
  ];
}

function queries(docs: DataDocs): Endpoint[] {
  return [
    endpoint({
      operation: "docs.find",
      method: "POST",
      path: "/apps/:app/docs/find",
      summary: "What a script would find; `next_cursor` goes into the next body",
      action: "data.read",
      input: { body: findInput, values: ["where", "sort"] },
      output: foundDocuments,
      errors: [...queryErrors, "docs_query_too_large"],
      handle: async ({ params, body, request_id }) => {
        const found = await docs.find(params.app as string, request_id, body);
        return ok({ items: found.items.map(toDocument), next_cursor: found.next_cursor });
      },
    }),
    endpoint({
      operation: "docs.count",
      method: "POST",
      path: "/apps/:app/docs/count",
      summary: "How many documents a script would find",
      action: "data.read",
      input: { body: countInput, values: ["where"] },
      output: documentCount,
      errors: [...queryErrors, "docs_query_too_large"],
      handle: async ({ params, body, request_id }) =>
        ok({ count: await docs.count(params.app as string, request_id, body) }),
    }),
    endpoint({
      operation: "docs.explain",
      method: "POST",
      path: "/apps/:app/docs/explain",
      summary: "Which index would serve a query",
      action: "data.read",
      input: { body: explainInput, values: ["where", "sort"] },
      output: explanation,
      errors: queryErrors,
      handle: async ({ params, body, request_id }) => {
        const { sortsInMemory, ...rest } = await docs.explain(
          params.app as string,
          request_id,
          body,
        );
        return ok({ ...rest, sorts_in_memory: sortsInMemory });
      },
    }),
  ];
}

function documents(docs: DataDocs): Endpoint[] {
  return [
    endpoint({
      operation: "docs.get",
      method: "GET",
      path: "/apps/:app/docs/document",
      summary: "One document",
      action: "data.read",
      input: { query: documentQuery },
      output: document,
      errors: ["docs_invalid_id", "docs_not_found"],
      handle: async ({ params, query }) =>
        ok(toDocument(await docs.get(params.app as string, query))),
    }),
    endpoint({
      operation: "docs.insert",
      method: "POST",
      path: "/apps/:app/docs/document",
      summary: "Write a new document, as a script would: with its event",
      action: "data.write",
      input: { body: documentInput, values: ["value"] },
      output: documentWritten,
      status: 201,
      errors: [...valueErrors, "docs_exists"],
      handle: async ({ actor, params, body }) => {
        const app = params.app as string;
        const made = await docs.insert(actor, app, body);
        const place = new URLSearchParams({ collection: body.collection, id: made.id });
        return created(`/apps/${app}/docs/document?${place}`, made);
      },
    }),
    endpoint({
      operation: "docs.delete",
      method: "DELETE",
      path: "/apps/:app/docs/document",
      summary: "Delete a document, as a script would: with its event",
      action: "data.write",
      input: { query: documentDeleteQuery },
      errors: ["docs_invalid_id", "docs_not_found", "docs_version_conflict", "quota_exceeded"],
      handle: async ({ actor, params, query }) => {
        const { collection, id, if_version } = query;
        await docs.delete(actor, params.app as string, {
          collection,
          id,
          ...(if_version === undefined ? {} : { if_version: Number(if_version) }),
        });
        return none();
      },
    }),
  ];
}

function changes(docs: DataDocs): Endpoint[] {
  const errors: ErrorCode[] = [...valueErrors, "docs_not_found", "docs_version_conflict"];
  return [
    endpoint({
      operation: "docs.replace",
      method: "PUT",
      path: "/apps/:app/docs/document",
      summary: "Write a document in the place of the one with this id",
      action: "data.write",
      input: { body: documentReplacement, values: ["value"] },
      output: documentWritten,
      errors,
      handle: async ({ actor, params, body }) =>
        ok(await docs.replace(actor, params.app as string, body)),
    }),
    endpoint({
      operation: "docs.patch",
      method: "PATCH",
      path: "/apps/:app/docs/document",
      summary: "Change members of a document by a JSON merge patch (RFC 7396)",
      action: "data.write",
      input: { body: documentPatch, values: ["patch"] },
      output: documentWritten,
      errors,
      handle: async ({ actor, params, body }) =>
        ok(await docs.patch(actor, params.app as string, body)),
    }),
  ];
}

function indexes(docs: DataDocs): Endpoint[] {
  return [
    endpoint({
      operation: "docs.indexes",
      method: "GET",
      path: "/apps/:app/docs/indexes",
      summary: "The indexes of a collection, by field",
      action: "data.read",
      input: { query: indexesQuery },
      output: documentIndexes,
      errors: ["docs_invalid_id"],
      handle: async ({ params, query }) => {
        const found = await docs.indexes(params.app as string, query.collection);
        return ok({ items: found.map(toIndex) });
      },
    }),
    endpoint({
      operation: "docs.createIndex",
      method: "POST",
      path: "/apps/:app/docs/indexes",
      summary: "Index a member of the documents; it is built while the app works",
      action: "data.write",
      input: { body: indexQuery },
      output: documentIndex,
      errors: ["docs_invalid_id", "docs_index_limit", "conflict"],
      handle: async ({ actor, params, body }) =>
        ok(toIndex(await docs.createIndex(actor, params.app as string, body))),
    }),
    endpoint({
      operation: "docs.dropIndex",
      method: "DELETE",
      path: "/apps/:app/docs/indexes",
      summary: "Drop an index; it is taken away while the app works",
      action: "data.write",
      input: { query: indexQuery },
      errors: ["docs_invalid_id"],
      handle: async ({ actor, params, query }) => {
        await docs.dropIndex(actor, params.app as string, query);
        return none();
      },
    }),
  ];
}

function transfers(transfer: DataTransfer): Endpoint[] {
  return [
    exportEndpoint({
      operation: "docs.export",
      method: "GET",
      path: "/apps/:app/docs/export",
      summary: "All documents as JSON Lines, of one collection or of all",
      action: "data.read",
      query: exportQuery,
      line: documentLine,
      errors: ["docs_invalid_id", "overloaded"],
      handle: async ({ actor, params, query }) => {
        const { collection = null } = query;
        return exportReply(await transfer.export(actor, params.app as string, "docs", collection));
      },
    }),
    importEndpoint({
      operation: "docs.import",
      method: "POST",
      path: "/apps/:app/docs/import",
      summary: "Write documents from JSON Lines, batch by batch; without events",
      action: "data.write",
      query: importQuery,
      line: documentLine,
      output: importCounts,
      errors: [...valueErrors, "conflict", "overloaded"],
      handle: async ({ actor, params, query, chunks }) => {
        const given = { chunks, ...importOptions(query) };
        return ok(await transfer.import(actor, params.app as string, "docs", given));
      },
    }),
  ];
}

function toDocument(from: DataRecord): WireDocument {
  return {
    id: from.key,
    // A document is an object: the checks of its writes see to it.
    value: JSON.parse(from.value) as Record<string, unknown>,
    version: from.version,
    updated_at: isoTime(from.updated_at),
  };
}

function toIndex({ field, state, created_at }: ListedIndex): WireDocumentIndex {
  return { field, state, created_at: isoTime(created_at) };
}
