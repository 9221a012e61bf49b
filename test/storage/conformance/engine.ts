/**
 * What a conformance suite asks of an engine. Every suite runs on every engine; an engine's own
 * tests hold only what no other engine has.
 */
import { afterEach } from "bun:test";
import type { App } from "../../../src/domain/apps.ts";
import { PicError } from "../../../src/domain/errors.ts";
import type { Script, ScriptVersion } from "../../../src/domain/scripts.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import type { Database } from "../../../src/storage/port.ts";
import { insertScript, insertVersion } from "../../../src/storage/scripts.ts";

export interface Bounds {
  txMsMax?: number;
  writerQueueMax?: number;
}

export interface Opened {
  db: Database;
  logs: Database;
  /** Closes both and removes what they wrote. */
  close(): Promise<void>;
}

export interface Engine {
  name: string;
  /** New, empty, migrated databases. */
  open(bounds?: Bounds): Promise<Opened>;
}

/** Call inside `describe`: gives a function that opens databases, which end with the test. */
export function opener(engine: Engine): (bounds?: Bounds) => Promise<Opened> {
  const opened: Opened[] = [];
  afterEach(async () => {
    for (const databases of opened.splice(0)) await databases.close();
  });
  return async (bounds) => {
    const databases = await engine.open(bounds);
    opened.push(databases);
    return databases;
  };
}

export const app: App = { id: "app-1", slug: "default", name: "Default", created_at: 1_000 };

export function script(id: string, more: Partial<Script> = {}): Script {
  return {
    id,
    app_id: app.id,
    name: `name-${id}`,
    kind: "endpoint",
    description: "",
    limits: {},
    public_execute: false,
    active_version: 1,
    created_at: 2_000,
    updated_at: 2_000,
    ...more,
  };
}

export function version(script_id: string, number = 1): ScriptVersion {
  return {
    script_id,
    number,
    kind: "endpoint",
    source: `source ${number}`,
    code: `code ${number}`,
    source_map: "{}",
    imports: ["picloud"],
    shape_rule: 0,
    created_at: 3_000 + number,
    created_by: null,
  };
}

/** The app, and these scripts with a first version each. */
export async function seed(db: Database, ...scripts: Script[]): Promise<void> {
  await db.tx(async (tx) => {
    await insertApp(tx, app);
    for (const one of scripts) {
      await insertScript(tx, one);
      await insertVersion(tx, version(one.id));
    }
  });
}

/** The code of the PicError that `work` rejects with; anything else is thrown. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof PicError) return error.code;
    throw error;
  }
  return "resolved";
}

/** The message of whatever `work` rejects with. */
export async function messageOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return String(error);
  }
  return "resolved";
}
