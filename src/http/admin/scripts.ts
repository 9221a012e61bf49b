/** `scripts`, their versions and rollback. */
import { PicError } from "../../domain/errors.ts";
import { importersShownMax } from "../../domain/limits.ts";
import type { ScriptVersion } from "../../domain/scripts.ts";
import { pageQuery } from "../../schema/pages.ts";
import {
  rollbackInput,
  savedScript,
  script,
  scriptInput,
  scriptPage,
  scriptPatch,
  scriptQuery,
  scriptRefs,
  version,
  versionPage,
  type WireScriptSummary,
  type WireVersion,
  type WireVersionSummary,
} from "../../schema/scripts.ts";
import type { SavedScript, Scripts, ScriptView, WholeScript } from "../../services/scripts.ts";
import { created, type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

const saveErrors = [
  "not_found",
  "invalid_source",
  "limit_above_ceiling",
  "conflict",
  "timeout",
] as const;

export function scriptEndpoints(scripts: Scripts): Endpoint[] {
  return [...collection(scripts), ...single(scripts), ...versions(scripts), ...imports(scripts)];
}

function collection(scripts: Scripts): Endpoint[] {
  return [
    endpoint({
      operation: "scripts.create",
      method: "POST",
      path: "/scripts",
      summary: "Make a script; its source is compiled and becomes version 1",
      action: "script.write",
      input: { body: scriptInput },
      output: savedScript,
      status: 201,
      errors: saveErrors,
      handle: async ({ actor, body }) => {
        const saved = await scripts.create(actor, body);
        return created(`/scripts/${saved.script.id}`, toSaved(saved));
      },
    }),
    endpoint({
      operation: "scripts.list",
      method: "GET",
      path: "/scripts",
      summary:
        "Scripts by name, of all apps that the caller sees or of one, of a kind, with a text in name or description",
      action: "script.read",
      input: { query: scriptQuery },
      output: scriptPage,
      errors: ["not_found"],
      handle: async ({ actor, query, page }) => {
        const { limit: _limit, cursor: _cursor, ...filter } = query;
        const found = await scripts.list(actor, filter, page);
        return ok({ items: found.items.map(toSummary), next_cursor: found.next_cursor });
      },
    }),
  ];
}

function single(scripts: Scripts): Endpoint[] {
  return [
    endpoint({
      operation: "scripts.get",
      method: "GET",
      path: "/scripts/:id",
      summary: "One script, with the source of its active version",
      action: "script.read",
      output: script,
      errors: ["not_found"],
      handle: async ({ params }) => ok(toWhole(await scripts.get(params.id as string))),
    }),
    endpoint({
      operation: "scripts.update",
      method: "PATCH",
      path: "/scripts/:id",
      summary: "Change what is given; a source or a kind that differs becomes a new version",
      action: "script.write",
      input: { body: scriptPatch },
      output: savedScript,
      errors: [...saveErrors, "version_conflict"],
      handle: async ({ actor, params, body }) =>
        ok(toSaved(await scripts.update(actor, params.id as string, body))),
    }),
    endpoint({
      operation: "scripts.delete",
      method: "DELETE",
      path: "/scripts/:id",
      summary: "Delete a script with its versions and routes; a module that is imported stays",
      action: "script.write",
      errors: ["not_found", "conflict"],
      handle: async ({ actor, params }) => {
        await scripts.delete(actor, params.id as string);
        return none();
      },
    }),
  ];
}

function versions(scripts: Scripts): Endpoint[] {
  return [
    endpoint({
      operation: "scripts.versions",
      method: "GET",
      path: "/scripts/:id/versions",
      summary: "All versions, newest first",
      action: "script.read",
      input: { query: pageQuery },
      output: versionPage,
      errors: ["not_found"],
      handle: async ({ params, page }) => {
        const found = await scripts.versions(params.id as string, page);
        return ok({ items: found.items.map(toVersionSummary), next_cursor: found.next_cursor });
      },
    }),
    endpoint({
      operation: "scripts.version",
      method: "GET",
      path: "/scripts/:id/versions/:number",
      summary: "One version, with its source",
      action: "script.read",
      output: version,
      errors: ["not_found"],
      handle: async ({ params }) => {
        const number = versionNumber(params.number as string);
        return ok(toVersion(await scripts.version(params.id as string, number)));
      },
    }),
    endpoint({
      operation: "scripts.rollback",
      method: "POST",
      path: "/scripts/:id/rollback",
      summary: "Copy an old version to a new one, which becomes active",
      action: "script.write",
      input: { body: rollbackInput },
      output: savedScript,
      errors: ["not_found", "invalid_source", "conflict", "version_conflict", "timeout"],
      handle: async ({ actor, params, body }) =>
        ok(toSaved(await scripts.rollback(actor, params.id as string, body))),
    }),
  ];
}

function imports(scripts: Scripts): Endpoint[] {
  return [
    endpoint({
      operation: "scripts.imports",
      method: "GET",
      path: "/scripts/:id/imports",
      summary: "The modules that a script imports, by name; what does not exist is not among them",
      action: "script.read",
      output: scriptRefs,
      errors: ["not_found"],
      handle: async ({ params }) => ok({ items: await scripts.imports(params.id as string) }),
    }),
    endpoint({
      operation: "scripts.imported_by",
      method: "GET",
      path: "/scripts/:id/imported-by",
      summary: `The scripts that import a module, by name, at most ${importersShownMax}`,
      action: "script.read",
      output: scriptRefs,
      errors: ["not_found"],
      handle: async ({ params }) => ok({ items: await scripts.importedBy(params.id as string) }),
    }),
  ];
}

function versionNumber(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new PicError("not_found", "There is no such version");
}

function toSummary(view: ScriptView): WireScriptSummary {
  const { script: from, app, active, effective_limits } = view;
  return {
    id: from.id,
    app_id: app.id,
    app: app.slug,
    name: from.name,
    kind: from.kind,
    description: from.description,
    limits: from.limits,
    effective_limits,
    public_execute: from.public_execute,
    active_version: {
      number: active.number,
      created_at: isoTime(active.created_at),
      created_by: active.created_by,
    },
    created_at: isoTime(from.created_at),
    updated_at: isoTime(from.updated_at),
  };
}

function toWhole(whole: WholeScript) {
  return { ...toSummary(whole), source: whole.source };
}

function toSaved(saved: SavedScript) {
  return { ...toWhole(saved), warnings: saved.warnings };
}

function toVersionSummary(
  from: Omit<WireVersionSummary, "created_at"> & { created_at: number },
): WireVersionSummary {
  return {
    number: from.number,
    kind: from.kind,
    created_at: isoTime(from.created_at),
    created_by: from.created_by,
    created_by_name: from.created_by_name,
    source_bytes: from.source_bytes,
  };
}

function toVersion(from: ScriptVersion): WireVersion {
  return {
    number: from.number,
    kind: from.kind,
    created_at: isoTime(from.created_at),
    created_by: from.created_by,
    source_bytes: Buffer.byteLength(from.source),
    script_id: from.script_id,
    source: from.source,
    imports: from.imports,
  };
}
