/**
 * Writes docs/manifest.schema.json: the JSON Schema of `picloud.json`, made from the declaration that the
 * server checks with, for editors to complete and to explain what is typed. A test fails when the two differ.
 */
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { RETRY_DEFAULT } from "../src/domain/events.ts";
import { LIMIT_DEFAULTS, LIMIT_FLOORS } from "../src/domain/limits.ts";
import { manifest } from "../src/schema/manifest.ts";

type JsonSchema = { [keyword: string]: unknown };

/** What a type cannot say, by the member that holds it and its name. */
const EXPLAINED: Readonly<Record<string, JsonSchema>> = {
  ".$schema": { description: "Where this schema is, for editors" },
  ".app": { description: "The app to deploy to: its slug or its id" },
  ".scripts": {
    description:
      "All that the app shall have. What is not named here stays, unless it is deployed with prune",
  },
  "scripts.name": {
    description: "Unique in the app. A module's is what others import it by: letters, digits and _",
  },
  "scripts.file": { description: "The source, as a path from this file: TypeScript or JavaScript" },
  "scripts.kind": {
    description: "An endpoint runs for requests and events; a module is imported by scripts",
    default: "endpoint",
  },
  "scripts.description": { description: "What it is for", default: "" },
  "scripts.limits": { description: "What a run may use, where the default is not enough" },
  "scripts.public_execute": {
    description: "Anybody may run it by its id, without signing in",
    default: false,
  },
  "scripts.routes": { description: "Which requests run it" },
  "scripts.triggers": { description: "Which events run it" },
  "limits.memory_mb": limit("memory_mb", "Memory of one run, MB"),
  "limits.cpu_ms": limit("cpu_ms", "Time that its code may run, ms"),
  "limits.timeout_ms": limit("timeout_ms", "Time until it must have answered, ms"),
  "limits.response_kb": limit("response_kb", "Size of its answer, KB"),
  "limits.log_kb": limit("log_kb", "Size of its log, KB"),
  "limits.host_calls": limit("host_calls", "Calls to kv, docs and the rest"),
  "routes.path": {
    description: "`/greet` exactly, `/greet/*` all below it, `/users/:id` with a parameter",
  },
  "routes.method": { description: "The method of the requests", default: "ANY" },
  "routes.host": {
    description: "`sub.example.com`, or `*.example.com` for all below it; absent: any host",
    default: "",
  },
  "routes.path_kind": { description: "How the path is meant; absent: as it looks" },
  "routes.host_kind": { description: "How the host is meant; absent: as it looks" },
  "routes.host_param_name": {
    description: "The parameter that gets what the star of the host took",
  },
  "routes.dispatch_mode": {
    description: "async answers at once, and runs the script later",
    default: "sync",
  },
  "triggers.kind": { description: "What it waits for" },
  "triggers.enabled": { description: "Whether it runs the script", default: true },
  "triggers.collection": {
    description: "A collection; a star at its end stands for any rest",
    default: "*",
  },
  "triggers.operations": { description: "What is done to a record; absent: anything" },
  "triggers.expression": { description: "When: cron with six fields, the first of them seconds" },
  "triggers.timezone": { description: "Of the expression, an IANA name", default: "UTC" },
  "triggers.overlap": {
    description: "What happens at a tick while the run before has not ended",
    default: "skip",
  },
  "triggers.retry": { description: "What happens after a run that failed; null: the default" },
  "retry.max_attempts": {
    description: "Runs of one event, the first included",
    default: RETRY_DEFAULT.max_attempts,
  },
  "retry.backoff": { description: "How the waits grow", default: RETRY_DEFAULT.backoff },
  "retry.base_ms": { description: "The first wait, ms", default: RETRY_DEFAULT.base_ms },
  "retry.max_ms": { description: "The longest wait, ms", default: RETRY_DEFAULT.max_ms },
  "retry.jitter": {
    description: "Share of a wait that chance decides, 0 to 1",
    default: RETRY_DEFAULT.jitter,
  },
};

/** The document as text. Throws for a member that nobody has explained. */
export function manifestSchema(): string {
  const { $schema, ...made } = manifest.toJsonSchema() as JsonSchema;
  const document = {
    $schema,
    title: "A PiCloud manifest",
    description: "What an app consists of: picloud.json, which `pic deploy` reads",
    ...(explained(made, "") as JsonSchema),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** @param holder the name of the member whose value this describes */
function explained(node: unknown, holder: string): unknown {
  if (Array.isArray(node)) return node.map((one) => explained(one, holder));
  if (!isObject(node)) return node;
  const made: JsonSchema = {};
  for (const [keyword, value] of Object.entries(node)) {
    made[keyword] =
      keyword === "properties" && isObject(value)
        ? Object.fromEntries(
            Object.entries(value).map(([name, member]) => [
              name,
              explainedMember(holder, name, member),
            ]),
          )
        : explained(value, holder);
  }
  return made;
}

function explainedMember(holder: string, name: string, schema: unknown): JsonSchema {
  const known = EXPLAINED[`${holder}.${name}`];
  if (known === undefined)
    throw new Error(`scripts/manifest-schema.ts explains no ${holder}.${name}`);
  const { description, ...said } = known;
  return { description, ...(explained(schema, name) as JsonSchema), ...said };
}

function limit(name: keyof typeof LIMIT_DEFAULTS, description: string): JsonSchema {
  const numbers = { minimum: LIMIT_FLOORS[name], default: LIMIT_DEFAULTS[name] };
  return { description, type: "integer", ...numbers };
}

function isObject(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

if (import.meta.main) {
  const path = resolve(import.meta.dir, "../docs/manifest.schema.json");
  writeFileSync(path, manifestSchema());
  console.log(path);
}
