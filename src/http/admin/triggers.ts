/**
 * `apps/{app}/triggers`, `apps/{app}/triggers/{kind}` and `scripts/{id}/triggers`. Each kind has addresses
 * of its own, since what goes in and comes out differs: so an unknown kind is an unknown address.
 */
import type { Trigger, TriggerKind } from "../../domain/triggers.ts";
import type { Schema } from "../../schema/arktype.ts";
import { pageQuery } from "../../schema/pages.ts";
import {
  cronPreview,
  cronPreviewInput,
  cronTrigger,
  cronTriggerInput,
  cronTriggerPage,
  cronTriggerPatch,
  dataTrigger,
  dataTriggerInput,
  dataTriggerPage,
  dataTriggerPatch,
  deadLetterTrigger,
  deadLetterTriggerInput,
  deadLetterTriggerPage,
  deadLetterTriggerPatch,
  triggerPage,
  type WireCronTrigger,
  type WireDataTrigger,
  type WireDeadLetterTrigger,
  type WireTrigger,
} from "../../schema/triggers.ts";
import type { TriggerInput, TriggerPatch } from "../../services/trigger-patches.ts";
import type { Triggers } from "../../services/triggers.ts";
import { created, type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

/** What a kind's addresses take and give. */
interface KindSchemas<Wire extends WireTrigger> {
  kind: TriggerKind;
  /** As a sentence names it. */
  label: string;
  input: Schema<TriggerInput>;
  patch: Schema<TriggerPatch>;
  output: Schema<Wire>;
  page: Schema<{ items: Wire[]; next_cursor: string | null }>;
  wire: (trigger: Trigger) => Wire;
}

const dataSchemas = {
  input: dataTriggerInput,
  patch: dataTriggerPatch,
  output: dataTrigger,
  page: dataTriggerPage,
  wire: toDataTrigger,
};

const cronSchemas = {
  input: cronTriggerInput,
  patch: cronTriggerPatch,
  output: cronTrigger,
  page: cronTriggerPage,
  wire: toCronTrigger,
};

const deadLetterSchemas = {
  input: deadLetterTriggerInput,
  patch: deadLetterTriggerPatch,
  output: deadLetterTrigger,
  page: deadLetterTriggerPage,
  wire: toDeadLetterTrigger,
};

export function triggerEndpoints(triggers: Triggers): Endpoint[] {
  return [
    ...lists(triggers),
    ...ofKind(triggers, { kind: "kv", label: "changes of key-value data", ...dataSchemas }),
    ...ofKind(triggers, { kind: "docs", label: "changes of documents", ...dataSchemas }),
    ...ofKind(triggers, { kind: "cron", label: "times", ...cronSchemas }),
    ...ofKind(triggers, { kind: "dead_letter", label: "dead letters", ...deadLetterSchemas }),
    preview(triggers),
  ];
}

function lists(triggers: Triggers): Endpoint[] {
  return [
    endpoint({
      operation: "triggers.list",
      method: "GET",
      path: "/apps/:app/triggers",
      summary: "The triggers of an app, of every kind, oldest first",
      action: "trigger.read",
      input: { query: pageQuery },
      output: triggerPage,
      errors: ["not_found"],
      handle: async ({ params, page }) => {
        const found = await triggers.list(params.app as string, null, page);
        return ok({ items: found.items.map(toTrigger), next_cursor: found.next_cursor });
      },
    }),
    endpoint({
      operation: "triggers.list_of_script",
      method: "GET",
      path: "/scripts/:id/triggers",
      summary: "The triggers that run a script, oldest first",
      action: "trigger.read",
      input: { query: pageQuery },
      output: triggerPage,
      errors: ["not_found"],
      handle: async ({ params, page }) => {
        const found = await triggers.listOfScript(params.id as string, page);
        return ok({ items: found.items.map(toTrigger), next_cursor: found.next_cursor });
      },
    }),
  ];
}

function ofKind<Wire extends WireTrigger>(
  triggers: Triggers,
  schemas: KindSchemas<Wire>,
): Endpoint[] {
  const { kind, label, input, output, page: outputPage, wire } = schemas;
  const path = `/apps/:app/triggers/${kind}`;
  return [
    endpoint({
      operation: `triggers.create_${kind}`,
      method: "POST",
      path,
      summary: `Run a script on ${label}`,
      action: "trigger.write",
      input: { body: input },
      output,
      status: 201,
      errors: ["not_found", "conflict"],
      handle: async ({ actor, params, body }) => {
        const made = await triggers.create(actor, { app: params.app as string, kind }, body);
        return created(`/apps/${made.app_id}/triggers/${kind}/${made.id}`, wire(made));
      },
    }),
    endpoint({
      operation: `triggers.list_${kind}`,
      method: "GET",
      path,
      summary: `The triggers of an app on ${label}, oldest first`,
      action: "trigger.read",
      input: { query: pageQuery },
      output: outputPage,
      errors: ["not_found"],
      handle: async ({ params, page }) => {
        const found = await triggers.list(params.app as string, kind, page);
        return ok({ items: found.items.map(wire), next_cursor: found.next_cursor });
      },
    }),
    ...singleOfKind(triggers, schemas, `${path}/:id`),
  ];
}

function singleOfKind<Wire extends WireTrigger>(
  triggers: Triggers,
  { kind, label, patch, output, wire }: KindSchemas<Wire>,
  path: string,
): Endpoint[] {
  const address = (params: Readonly<Record<string, string>>) => ({
    app: params.app as string,
    kind,
    id: params.id as string,
  });
  return [
    endpoint({
      operation: `triggers.get_${kind}`,
      method: "GET",
      path,
      summary: `One trigger on ${label}`,
      action: "trigger.read",
      output,
      errors: ["not_found"],
      handle: async ({ params }) => ok(wire(await triggers.get(address(params)))),
    }),
    endpoint({
      operation: `triggers.update_${kind}`,
      method: "PATCH",
      path,
      summary: `Change what is given of a trigger on ${label}; what waits already runs as it was`,
      action: "trigger.write",
      input: { body: patch },
      output,
      errors: ["not_found"],
      handle: async ({ actor, params, body }) =>
        ok(wire(await triggers.update(actor, address(params), body))),
    }),
    endpoint({
      operation: `triggers.delete_${kind}`,
      method: "DELETE",
      path,
      summary: `Delete a trigger on ${label}, with what waits for it`,
      action: "trigger.write",
      errors: ["not_found"],
      handle: async ({ actor, params }) => {
        await triggers.delete(actor, address(params));
        return none();
      },
    }),
  ];
}

function preview(triggers: Triggers): Endpoint {
  return endpoint({
    operation: "triggers.preview_cron",
    method: "POST",
    path: "/apps/:app/triggers/cron/preview",
    summary: "When a cron trigger would fire next, before it is made",
    action: "trigger.read",
    input: { body: cronPreviewInput },
    output: cronPreview,
    errors: ["not_found"],
    handle: async ({ params, body }) => {
      const ticks = await triggers.preview(params.app as string, body);
      return ok({ next: ticks.map(isoTime) });
    },
  });
}

function toTrigger(from: Trigger): WireTrigger {
  if (from.kind === "cron") return toCronTrigger(from);
  return from.kind === "dead_letter" ? toDeadLetterTrigger(from) : toDataTrigger(from);
}

function toDataTrigger(from: Trigger): WireDataTrigger {
  if (from.kind === "cron" || from.kind === "dead_letter") throw otherKind(from);
  const { kind, collection, operations, retry } = from;
  return { ...common(from), kind, collection, operations, retry };
}

function toCronTrigger(from: Trigger): WireCronTrigger {
  if (from.kind !== "cron") throw otherKind(from);
  const { kind, expression, timezone, overlap, retry, next_at, last_at } = from;
  return {
    ...common(from),
    kind,
    expression,
    timezone,
    overlap,
    retry,
    next_at: next_at === null ? null : isoTime(next_at),
    last_at: last_at === null ? null : isoTime(last_at),
  };
}

function toDeadLetterTrigger(from: Trigger): WireDeadLetterTrigger {
  if (from.kind !== "dead_letter") throw otherKind(from);
  return { ...common(from), kind: from.kind };
}

function common(from: Trigger) {
  return {
    id: from.id,
    app_id: from.app_id,
    script_id: from.script_id,
    enabled: from.is_enabled,
    registered_by: from.registered_by,
    created_at: isoTime(from.created_at),
    updated_at: isoTime(from.updated_at),
  };
}

function otherKind({ kind }: Trigger): Error {
  return new Error(`a trigger of kind ${kind} where another one was asked for`);
}
