/**
 * Failed answers in the API's document: for each error code a schema and an example, for each set of
 * codes that share a status a response. What an example shows is made by the code that makes the real
 * answers. Loaded with the document alone.
 */
import { type ErrorCode, type FieldError, PicError } from "../../domain/errors.ts";
import type { Schema } from "../../schema/arktype.ts";
import { problem, problemMembers } from "../../schema/problems.ts";
import { problemDocument, STATUS } from "../errors.ts";
import { exampleIds, type NamedSchema } from "./openapi-examples.ts";
import { exampleRoute } from "./openapi-schemas.ts";

interface CodeDocument {
  /** When it is answered, for the reader. */
  description: string;
  /** What an answer says. */
  detail: string;
  errors?: FieldError[];
  extra?: Record<string, unknown>;
  members?: keyof typeof problemMembers;
}

const ofExecution = {
  extra: { execution_id: exampleIds.execution },
  members: "execution",
} as const;

/** Of an import: which line, and what was done before it. */
const ofImport = { members: "importLine" } as const;

/** Every code that an endpoint may declare; the rest are never an answer of the API. */
const CODES: Partial<Record<ErrorCode, CodeDocument>> = {
  malformed_request: {
    description: "The request is broken: its address, its host or the JSON of its body",
    detail: "The body is not valid JSON in UTF-8",
  },
  invalid: {
    description: "A field is not what it must be; `errors` names each one",
    detail: "name: must be 1 to 128 characters long",
    errors: [{ path: "name", message: "must be 1 to 128 characters long" }],
    members: "fields",
  },
  invalid_source: {
    description: "The source does not compile; `errors` has lines and columns",
    detail: 'Unexpected "}" (line 3, column 1)',
    errors: [{ path: "source", message: 'Unexpected "}"', line: 3, column: 1 }],
    members: "fields",
  },
  limit_above_ceiling: {
    description: "A limit is above what this PiCloud allows",
    detail: "limits.memory_mb: 512 is above the ceiling of 64",
    errors: [{ path: "limits.memory_mb", message: "512 is above the ceiling of 64" }],
    members: "fields",
  },
  body_too_large: {
    description: "The body is longer than this call takes",
    detail: "The body must be at most 4194304 bytes long",
  },
  unsupported_media_type: {
    description: "The body is not `application/json`; of an import, not `application/x-ndjson`",
    detail: "The body must be application/json",
  },
  unauthenticated: {
    description: "There is no session: the token is missing, wrong or expired",
    detail: "This needs a session: log in first",
  },
  invalid_credentials: {
    description: "The username or the password is wrong",
    detail: "The username or the password is wrong",
  },
  forbidden: {
    description: "This account may not, or a page of another host asks in its name",
    detail: "Your role does not allow this",
  },
  too_many_attempts: {
    description: "Too many logins failed; `Retry-After` says when to try again",
    detail: "Too many failed logins; try again later",
  },
  not_found: {
    description: "What the address names does not exist",
    detail: "There is no such script",
  },
  conflict: {
    description: "It stands against what exists, or would take more with it than was said",
    detail: "The app is not empty; deleting it needs force=true",
    extra: {
      would_delete: {
        scripts: 2,
        routes: 3,
        triggers: 1,
        kv_entries: 40,
        docs: 0,
        dead_letters: 0,
        members: 2,
        api_keys: 0,
        hosts: 1,
      },
    },
    members: "conflict",
  },
  route_conflict: {
    description:
      "One request could match both this route and `conflicting_route`; null, with `hidden`, for a route " +
      "that the caller may not read",
    detail: "One request could match both this route and ANY /visits/:page",
    extra: { conflicting_route: exampleRoute, hidden: false },
    members: "routeConflict",
  },
  version_conflict: {
    description: "Somebody saved meanwhile: the active version is not `if_version`",
    detail: "The active version is 3, not 2",
    extra: { active_version: 3 },
    members: "versionConflict",
  },
  kv_invalid_key: {
    description: "The name of a collection or a key is empty, too long or no text",
    detail: "The key is longer than 512 bytes",
    ...ofImport,
  },
  kv_invalid_value: {
    description: "The value is missing or cannot be written as JSON",
    detail: "The value cannot be written as JSON",
    ...ofImport,
  },
  kv_value_too_large: {
    description: "The value is too long",
    detail: "The value is longer than 262144 bytes as JSON",
    ...ofImport,
  },
  kv_version_conflict: {
    description:
      "Somebody wrote the entry meanwhile; `version` is what it has, 0 when there is none",
    detail: "The version is 3, not 2",
    extra: { version: 3 },
    members: "recordVersion",
  },
  docs_invalid_id: {
    description: "The name of a collection or an id is empty, too long or no text",
    detail: "The id is longer than 512 bytes",
    ...ofImport,
  },
  docs_invalid_value: {
    description: "The document is no object, or nests too deep",
    detail: "A document must be an object",
    ...ofImport,
  },
  docs_value_too_large: {
    description: "The document is too long",
    detail: "The document is longer than 262144 bytes as JSON",
    ...ofImport,
  },
  docs_invalid_query: {
    description: "The query is none, or asks for more than one may",
    detail: "where.at.$near: is not an operator",
    errors: [{ path: "where.at.$near", message: "is not an operator" }],
    members: "fields",
  },
  docs_query_too_large: {
    description: "The query would have to read too much; an index may help",
    detail: "The query reads too many documents",
  },
  docs_not_found: {
    description: "There is no such document",
    detail: "There is no such document",
  },
  docs_exists: {
    description: "There is a document with this id already",
    detail: "There is a document with this id already",
  },
  docs_version_conflict: {
    description:
      "Somebody wrote the document meanwhile; `version` is what it has, 0 when there is none",
    detail: "The version is 3, not 2",
    extra: { version: 3 },
    members: "recordVersion",
  },
  docs_index_limit: {
    description: "The collection has as many indexes as it may have",
    detail: "A collection has at most 8 indexes",
  },
  quota_exceeded: {
    description:
      "The app may not keep more; PICLOUD_APP_DATA_ROWS and PICLOUD_APP_DATA_MB say how much",
    detail: "The app may keep 1,000,000 rows and has 1,000,000",
    ...ofImport,
  },
  script_error: {
    description: "The script threw; its execution record says what",
    detail: "The script failed",
    ...ofExecution,
  },
  module_unavailable: {
    description: "A module that the script imports could not be loaded",
    detail: "A module of the script is unavailable",
    ...ofExecution,
  },
  timeout: {
    description: "The script did not answer within its `timeout_ms`, or took too long to compile",
    detail: "The script did not finish in time",
    ...ofExecution,
  },
  budget_exceeded: {
    description: "The script used up a limit: memory, computing time, size of the answer or calls",
    detail: "The script used up one of its budgets",
    ...ofExecution,
  },
  overloaded: {
    description: "There is too much to do at this moment; `Retry-After` says when to try again",
    detail: "Too many requests are waiting",
    members: "execution",
  },
  sandbox_lost: {
    description: "The process that ran the script ended; `Retry-After` says when to try again",
    detail: "The execution was lost with its sandbox",
    ...ofExecution,
  },
  unavailable: {
    description: "The database does not answer; `Retry-After` says when to try again",
    detail: "The database is unavailable",
    members: "execution",
  },
  internal: {
    description: "A defect of PiCloud; its log has the details under `instance`",
    detail: "Internal error",
    members: "execution",
  },
};

/** The schemas of these codes' answers, by name. */
export function problemSchemas(codes: Iterable<ErrorCode>): NamedSchema[] {
  return [...codes].map((code) => {
    const { description, members } = documentOf(code);
    const base = problem(code, STATUS[code]);
    // The merged type depends on the code; as a schema of the document its values are not read.
    const schema = members === undefined ? base : base.merge(problemMembers[members]);
    return {
      name: problemName(code),
      description,
      schema: schema as Schema<unknown>,
      example: exampleOf(code),
    };
  });
}

/** Codes that share a status share a response; its name lists them. */
export interface ProblemResponse {
  status: number;
  name: string;
  codes: ErrorCode[];
}

/** One response for each status that these codes have, ascending. */
export function problemResponses(codes: Iterable<ErrorCode>): ProblemResponse[] {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of [...new Set(codes)].sort()) {
    byStatus.set(STATUS[code], [...(byStatus.get(STATUS[code]) ?? []), code]);
  }
  return [...byStatus]
    .sort(([a], [b]) => a - b)
    .map(([status, found]) => ({ status, name: found.join("."), codes: found }));
}

/** The responses of an operation: references, by status. */
export function responsesOf(codes: Iterable<ErrorCode>): Record<string, object> {
  const references = problemResponses(codes).map(({ status, name }) => [
    status,
    { $ref: `#/components/responses/${name}` },
  ]);
  return Object.fromEntries(references);
}

/** What these references mean. */
export function responseObject({ status, codes }: ProblemResponse): object {
  const schemas = codes.map((code) => ({ $ref: `#/components/schemas/${problemName(code)}` }));
  const examples = codes.map((code) => [
    code,
    { $ref: `#/components/examples/${problemName(code)}` },
  ]);
  return {
    description: codes.map((code) => `\`${code}\`: ${documentOf(code).description}`).join(". "),
    ...headersOf(status),
    content: {
      "application/problem+json": {
        schema: schemas.length === 1 ? schemas[0] : { oneOf: schemas },
        examples: Object.fromEntries(examples),
      },
    },
  };
}

/** `route_conflict` → `RouteConflictProblem`. */
export function problemName(code: ErrorCode): string {
  const words = code.split("_").map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  return `${words.join("")}Problem`;
}

function exampleOf(code: ErrorCode): object {
  const { detail, errors, extra } = documentOf(code);
  const error = new PicError(code, detail, {
    ...(errors === undefined ? {} : { errors }),
    ...(extra === undefined ? {} : { extra }),
  });
  return problemDocument(error, exampleIds.request);
}

/** Throws for a code that this file does not know: whoever declares it describes it here. */
function documentOf(code: ErrorCode): CodeDocument {
  const found = CODES[code];
  if (found === undefined) throw new Error(`openapi-problems.ts does not describe ${code}`);
  return found;
}

function headersOf(status: number): object {
  const text = (description: string): object => ({ description, schema: { type: "string" } });
  if (status === 401) {
    return { headers: { "WWW-Authenticate": text("`Bearer`") } };
  }
  if (status === 429 || status === 503) {
    const schema = { type: "integer", minimum: 0 };
    return { headers: { "Retry-After": { description: "Seconds to wait", schema } } };
  }
  return {};
}
