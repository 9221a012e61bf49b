/** Scripts and their versions on the wire. */
import { descriptionCharsMax, nameCharsMax, sourceBytesMax } from "../domain/limits.ts";
import { type } from "./arktype.ts";

const kind = type("'endpoint' | 'module'");
const positive = "number.integer >= 1";
const natural = "number.integer >= 0";

const limits = type({
  memory_mb: "number",
  cpu_ms: "number",
  timeout_ms: "number",
  response_kb: "number",
  log_kb: "number",
  host_calls: "number",
});

/** Only what its author set. */
export const ownLimits = type({
  "+": "reject",
  "memory_mb?": "number",
  "cpu_ms?": "number",
  "timeout_ms?": "number",
  "response_kb?": "number",
  "log_kb?": "number",
  "host_calls?": "number",
});

/** In an update null takes a limit back to its default; what is absent stays as it is. */
const limitsPatch = type({
  "+": "reject",
  "memory_mb?": "number | null",
  "cpu_ms?": "number | null",
  "timeout_ms?": "number | null",
  "response_kb?": "number | null",
  "log_kb?": "number | null",
  "host_calls?": "number | null",
});

const activeVersion = type({
  number: positive,
  created_at: "string",
  created_by: "string | null",
});

const summary = type({
  id: "string",
  app_id: "string",
  app: "string",
  name: "string",
  kind,
  description: "string",
  limits: ownLimits,
  effective_limits: limits,
  public_execute: "boolean",
  active_version: activeVersion,
  created_at: "string",
  updated_at: "string",
});

export const scriptSummary = summary;
export type WireScriptSummary = typeof scriptSummary.infer;

/** One script, with the source of its active version. */
export const script = summary.merge({ source: "string" });
export type WireScript = typeof script.infer;

const warning = type({
  path: "string",
  message: "string",
  "line?": "number",
  "column?": "number",
});

/** The answer to a save: what was saved, and what the author should know about it. */
export const savedScript = script.merge({ warnings: warning.array() });
export type WireSavedScript = typeof savedScript.infer;

export const scriptPage = type({ items: scriptSummary.array(), next_cursor: "string | null" });

export const scriptInput = type({
  "+": "reject",
  "app?": "1 <= string <= 64",
  name: `1 <= string <= ${nameCharsMax}`,
  "kind?": kind,
  source: `string <= ${sourceBytesMax}`,
  "description?": `string <= ${descriptionCharsMax}`,
  "limits?": ownLimits,
  "public_execute?": "boolean",
});
export type ScriptInput = typeof scriptInput.infer;

export const scriptPatch = type({
  "+": "reject",
  "name?": `1 <= string <= ${nameCharsMax}`,
  "kind?": kind,
  "source?": `string <= ${sourceBytesMax}`,
  "description?": `string <= ${descriptionCharsMax}`,
  "limits?": limitsPatch,
  "public_execute?": "boolean",
  "if_version?": positive,
});
export type ScriptPatch = typeof scriptPatch.infer;

export const scriptQuery = type({
  "+": "reject",
  "app?": "1 <= string <= 64",
  "kind?": kind,
  "q?": `1 <= string <= ${nameCharsMax}`,
  "name?": `1 <= string <= ${nameCharsMax}`,
  "limit?": "string",
  "cursor?": "string <= 1024",
});

const versionFields = type({
  number: positive,
  kind,
  created_at: "string",
  created_by: "string | null",
  source_bytes: natural,
});

export const versionSummary = versionFields.merge({
  /** The account's username; null when it is gone, or there was none. */
  created_by_name: "string | null",
});
export type WireVersionSummary = typeof versionSummary.infer;

export const versionPage = type({ items: versionSummary.array(), next_cursor: "string | null" });

export const version = versionFields.merge({
  script_id: "string",
  source: "string",
  imports: "string[]",
});
export type WireVersion = typeof version.infer;

/** What a script imports, or what imports it. */
export const scriptRefs = type({ items: type({ id: "string", name: "string", kind }).array() });
export type WireScriptRefs = typeof scriptRefs.infer;

export const rollbackInput = type({
  "+": "reject",
  version: positive,
  "if_version?": positive,
});
export type RollbackInput = typeof rollbackInput.infer;
