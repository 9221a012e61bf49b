/**
 * What stands in a path or a query, for the API's document. The query schemas see text, because a
 * query is text; here a number is called a number. Loaded with the document alone.
 */
import { listLimitDefault, listLimitMax } from "../../domain/limits.ts";
import type { Schema } from "../../schema/arktype.ts";
import { exampleIds } from "./openapi-examples.ts";

interface Parameter {
  name: string;
  in: "path" | "query";
  required: boolean;
  description: string;
  schema: object;
  example?: string | number;
}

type QueryText = Pick<Parameter, "description"> & { schema?: object };

/** What a path's parameters mean; `:id` is of the noun before it. */
const PATH_TEXTS: Readonly<Record<string, Pick<Parameter, "description" | "schema" | "example">>> =
  {
    app: { description: "Id or slug of the app", schema: { type: "string" }, example: "default" },
    number: {
      description: "Number of the version",
      schema: { type: "integer", minimum: 1 },
      example: 1,
    },
    scripts: id("script", exampleIds.script),
    routes: id("route", exampleIds.route),
    executions: id("execution", exampleIds.execution),
    kv: id("trigger", exampleIds.trigger),
    docs: id("trigger", exampleIds.trigger),
    cron: id("trigger", exampleIds.trigger),
    dead_letter: id("trigger", exampleIds.trigger),
    "dead-letters": id("dead letter", exampleIds.dead_letter),
    accounts: {
      description: "Id or username of the account",
      schema: { type: "string" },
      example: "ada",
    },
    account: {
      description: "Id or username of the account",
      schema: { type: "string" },
      example: "ada",
    },
    session: {
      description: "`id` of the session, as the list shows it",
      schema: { type: "string" },
      example: "0123456789abcdef0123456789abcdef",
    },
    "api-keys": id("API key", exampleIds.api_key),
  };

/** What a query's members mean. A schema here stands for that of the declaration. */
const QUERY_TEXTS: Readonly<Record<string, QueryText>> = {
  limit: {
    description: "How many items a page has at most",
    schema: { type: "integer", minimum: 1, maximum: listLimitMax, default: listLimitDefault },
  },
  cursor: { description: "`next_cursor` of the page before; absent for the first one" },
  app: { description: "Only of this app: its id or slug" },
  kind: { description: "Only of this kind" },
  name: { description: "Only of this name, which is spelled out" },
  q: { description: "Only with this text in name or description" },
  state: { description: "Only in this state" },
  source: { description: "Only of events of this source" },
  script_id: { description: "Only of events that this script handles" },
  trigger_id: { description: "Only of events of this trigger" },
  since: { description: "Only from this time on, ISO 8601" },
  until: { description: "Only from before this time, ISO 8601" },
  force: { description: "`true` deletes the app together with what is in it" },
  collection: { description: "Name of the collection; absent where it may be: all of them" },
  key: { description: "Key of the entry" },
  id: { description: "Id of the document" },
  field: { description: "Path of the member" },
  prefix: { description: "Only keys that begin with this" },
  if_version: {
    description: "Only when this is its version; 0: when there is none",
    schema: { type: "integer", minimum: 0 },
  },
  account: { description: "Only of this account: its id or username" },
  role: { description: "Only with this role; of a nomination: only when it is for this role" },
  is_active: { description: "Only those that are active, or only those that are not" },
  host: { description: "The host, as the list shows it" },
  actor: { description: "Only what this account did: its id, or its username of then" },
  action: { description: "Only this action; `script.*` is all that is done to scripts" },
  target: { description: "Only what was done to this: its id, or its name of then" },
  confirm: { description: "The collection's name once more" },
  mode: {
    description:
      "What to do with a record that is there already: `fail` stops, `skip` leaves it, `merge` writes over it",
    schema: { type: "string", enum: ["fail", "skip", "merge"], default: "fail" },
  },
  dry_run: { description: "`true` checks every line and writes nothing" },
  emit: { description: "`true` makes each change an event, which starts handlers" },
};

/** Those that every list has; they stand among the components. */
const SHARED = new Set(["limit", "cursor"]);

/** The parameters of `/scripts/:id/versions/:number`, in their order. */
export function pathParameters(path: string): Parameter[] {
  const segments = path.split("/");
  return segments.flatMap((segment, index) => {
    if (!segment.startsWith(":")) return [];
    const name = segment.slice(1);
    const text = PATH_TEXTS[name === "id" ? (segments[index - 1] ?? "") : name];
    if (text === undefined) throw new Error(`openapi-parameters.ts does not describe ${path}`);
    return [{ name, in: "path", required: true, ...text }];
  });
}

/** The parameters that a query schema names; those of every list by reference. */
export function queryParameters(schema: Schema<unknown> | null): object[] {
  return ownQueryParameters(schema).map((parameter) =>
    SHARED.has(parameter.name) ? { $ref: `#/components/parameters/${parameter.name}` } : parameter,
  );
}

/** The parameters of these queries that others refer to, by name. */
export function sharedParameters(schemas: readonly (Schema<unknown> | null)[]): object {
  const found = schemas
    .flatMap(ownQueryParameters)
    .filter(({ name }) => SHARED.has(name))
    .map((parameter) => [parameter.name, parameter]);
  return Object.fromEntries(found);
}

function ownQueryParameters(schema: Schema<unknown> | null): Parameter[] {
  if (schema === null) return [];
  // toJsonSchema() of an object type.
  const { properties = {}, required = [] } = schema.toJsonSchema() as {
    properties?: Record<string, object>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, declared]) => {
    const text = QUERY_TEXTS[name];
    if (text === undefined) throw new Error(`openapi-parameters.ts does not describe ?${name}`);
    return {
      name,
      in: "query",
      required: required.includes(name),
      description: text.description,
      schema: text.schema ?? { type: "string", ...declared },
    };
  });
}

function id(noun: string, example: string): Pick<Parameter, "description" | "schema" | "example"> {
  return { description: `Id of the ${noun}`, schema: { type: "string" }, example };
}
