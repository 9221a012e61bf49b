import type { ScriptLimits } from "./limits.ts";

export type ScriptKind = "endpoint" | "module";

/** A script: a name in an app, whose behaviour is its active version. Times are epoch milliseconds. */
export interface Script {
  id: string;
  app_id: string;
  name: string;
  kind: ScriptKind;
  description: string;
  /** Only what the author set; the rest are defaults. */
  limits: Partial<ScriptLimits>;
  public_execute: boolean;
  active_version: number;
  created_at: number;
  updated_at: number;
}

/** One immutable save of a script's source, with what it compiled to. */
export interface ScriptVersion {
  script_id: string;
  number: number;
  kind: ScriptKind;
  source: string;
  /** The compiled JavaScript, an ES module. */
  code: string;
  /** Source map v3 of `code` as JSON text, without sourcesContent. */
  source_map: string;
  /** Specifiers of the static imports, sorted. */
  imports: string[];
  created_at: number;
  /** Account id, or null for the system. */
  created_by: string | null;
}
