/** `apps/{app}/kv`: an app's entries, for people. */

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
  kvDeleteQuery,
  kvEntriesQuery,
  kvEntry,
  kvEntryInput,
  kvEntryPage,
  kvEntryQuery,
  kvLine,
  kvWritten,
  type WireKvEntry,
} from "../../schema/data-kv.ts";
import { pageQuery } from "../../schema/pages.ts";
import type { DataKv } from "../../services/data-kv.ts";
import type { DataTransfer } from "../../services/data-transfer.ts";
import { confirmedCollection, exportReply, importOptions, versionOf } from "./data.ts";
import { type Endpoint, endpoint, exportEndpoint, importEndpoint, none, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

export function dataKvEndpoints(kv: DataKv, transfer: DataTransfer): Endpoint[] {
  return [...collections(kv), ...entries(kv), ...changes(kv), ...transfers(transfer)];
}

/** What a write can be refused for, besides what its arguments can. */
const writeErrors: readonly ErrorCode[] = ["kv_version_conflict", "quota_exceeded"];

function collections(kv: DataKv): Endpoint[] {
  return [
    endpoint({
      operation: "kv.collections",
      method: "GET",
      path: "/apps/:app/kv",
      summary: "The collections of entries of an app, by name, with what they hold",
      action: "data.read",
      input: { query: pageQuery },
      output: dataCollectionPage,
      errors: ["not_found"],
      handle: async ({ params, page }) => ok(await kv.collections(params.app as string, page)),
    }),
    endpoint({
      operation: "kv.clear",
      method: "DELETE",
      path: "/apps/:app/kv/collection",
      summary: "Delete entries of a collection, a bounded number at a time; without events",
      action: "data.write",
      input: { query: clearQuery },
      output: clearedRecords,
      errors: ["kv_invalid_key"],
      handle: async ({ actor, params, query }) => {
        const cleared = await kv.clear(actor, params.app as string, {
          collection: confirmedCollection(query),
          emit: query.emit === "true",
        });
        return ok(cleared);
      },
    }),
  ];
}

function entries(kv: DataKv): Endpoint[] {
  return [
    endpoint({
      operation: "kv.entries",
      method: "GET",
      path: "/apps/:app/kv/entries",
      summary: "Entries of a collection, by key; a page ends early when its values are large",
      action: "data.read",
      input: { query: kvEntriesQuery },
      output: kvEntryPage,
      errors: ["kv_invalid_key"],
      handle: async ({ params, query, page }) => {
        const found = await kv.entries(params.app as string, query, page);
        return ok({ items: found.items.map(toEntry), next_cursor: found.next_cursor });
      },
    }),
    endpoint({
      operation: "kv.get",
      method: "GET",
      path: "/apps/:app/kv/entry",
      summary: "One entry",
      action: "data.read",
      input: { query: kvEntryQuery },
      output: kvEntry,
      errors: ["kv_invalid_key"],
      handle: async ({ params, query }) => ok(toEntry(await kv.get(params.app as string, query))),
    }),
  ];
}

function changes(kv: DataKv): Endpoint[] {
  return [
    endpoint({
      operation: "kv.set",
      method: "PUT",
      path: "/apps/:app/kv/entry",
      summary: "Write an entry, as a script would: with its event and a new version",
      action: "data.write",
      input: { body: kvEntryInput, values: ["value"] },
      output: kvWritten,
      errors: ["kv_invalid_key", "kv_invalid_value", "kv_value_too_large", ...writeErrors],
      handle: async ({ actor, params, body }) => {
        const version = await kv.set(actor, params.app as string, body);
        return ok({ key: body.key, version });
      },
    }),
    endpoint({
      operation: "kv.delete",
      method: "DELETE",
      path: "/apps/:app/kv/entry",
      summary: "Delete an entry, as a script would: with its event",
      action: "data.write",
      input: { query: kvDeleteQuery },
      errors: ["kv_invalid_key", ...writeErrors],
      handle: async ({ actor, params, query }) => {
        const if_version = versionOf(query.if_version);
        await kv.delete(actor, params.app as string, { ...query, if_version });
        return none();
      },
    }),
  ];
}

function transfers(transfer: DataTransfer): Endpoint[] {
  return [
    exportEndpoint({
      operation: "kv.export",
      path: "/apps/:app/kv/export",
      method: "GET",
      summary:
        "All entries as JSON Lines, of one collection or of all; cut off when it fails midway",
      action: "data.read",
      query: exportQuery,
      line: kvLine,
      errors: ["kv_invalid_key", "overloaded"],
      handle: async ({ actor, params, query }) => {
        const { collection = null } = query;
        return exportReply(await transfer.export(actor, params.app as string, "kv", collection));
      },
    }),
    importEndpoint({
      operation: "kv.import",
      method: "POST",
      path: "/apps/:app/kv/import",
      summary: "Write entries from JSON Lines, batch by batch; without events",
      action: "data.write",
      query: importQuery,
      line: kvLine,
      output: importCounts,
      errors: [
        "conflict",
        "kv_invalid_key",
        "kv_invalid_value",
        "kv_value_too_large",
        "quota_exceeded",
        "overloaded",
      ],
      handle: async ({ actor, params, query, chunks }) => {
        const given = { chunks, ...importOptions(query) };
        return ok(await transfer.import(actor, params.app as string, "kv", given));
      },
    }),
  ];
}

function toEntry(from: DataRecord): WireKvEntry {
  return {
    key: from.key,
    value: JSON.parse(from.value) as unknown,
    version: from.version,
    updated_at: isoTime(from.updated_at),
    expires_at: from.expires_at === null ? null : isoTime(from.expires_at),
  };
}
