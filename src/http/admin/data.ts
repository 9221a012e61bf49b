/** What the calls for entries and for documents have in common. */
import { invalidField } from "../../domain/errors.ts";
import type { clearQuery, importQuery } from "../../schema/data.ts";
import type { DataExport, ImportOptions } from "../../services/data-transfer.ts";
import type { LinesReply } from "./endpoint.ts";

/** The collection to clear. Throws PicError `invalid` unless it is named twice. */
export function confirmedCollection({
  collection,
  confirm,
}: Pick<typeof clearQuery.infer, "collection" | "confirm">): string {
  if (confirm === collection) return collection;
  throw invalidField("confirm", "must be the collection's name");
}

/** Null: any. */
export function versionOf(text: string | undefined): number | null {
  return text === undefined ? null : Number(text);
}

/** By default nothing that is there is overwritten, and no handler is started. */
export function importOptions(query: typeof importQuery.infer): ImportOptions {
  return {
    mode: query.mode ?? "fail",
    collection: query.collection ?? null,
    dry_run: query.dry_run === "true",
    emit: query.emit === "true",
  };
}

export function exportReply({ file_name, chunks }: DataExport): LinesReply {
  const headers = { "content-disposition": `attachment; filename="${file_name}"` };
  return { status: 200, chunks, headers };
}
