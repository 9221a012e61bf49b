/** An app to deploy to, on each engine, and shorthands for what manifests and plans say. */
import { newId } from "../../src/base/ids.ts";
import type { Actor } from "../../src/domain/accounts.ts";
import type { DeploymentInput, DeploymentScript } from "../../src/schema/manifest.ts";
import type { Deployment } from "../../src/services/deployments.ts";
import type { Database } from "../../src/storage/port.ts";
import { type SqlValue, sql } from "../../src/storage/sql.ts";
import { postgresMissing } from "../postgres.ts";
import { setup as setupPostgres } from "../storage/postgres-setup.ts";
import { FakeClock, owner, setup, startServices } from "./fakes.ts";

export type Services = Awaited<ReturnType<typeof startServices>>;

export interface DeploymentEngine {
  name: string;
  /** Why it cannot be had, or null. */
  missing: string | null;
  open(): Promise<Opened>;
}

interface Opened extends AsyncDisposable {
  db: Database;
  /** The machine's. */
  clock: FakeClock;
  services: Services;
  /** Another server on the same database; on SQLite the same one. */
  second: () => Promise<Services>;
}

export const ENGINES: readonly DeploymentEngine[] = [
  {
    name: "SQLite",
    missing: null,
    async open() {
      const t = await setup();
      return {
        db: t.db,
        clock: t.clock,
        services: t,
        second: async () => t,
        [Symbol.asyncDispose]: t[Symbol.asyncDispose],
      };
    },
  },
  {
    name: "PostgreSQL",
    missing: postgresMissing(),
    async open() {
      const server = await setupPostgres();
      const start = async () => {
        const { db } = await server.open();
        const clock = new FakeClock();
        return { db, clock, services: await startServices(db, clock) };
      };
      const first = await start();
      return {
        ...first,
        second: async () => (await start()).services,
        [Symbol.asyncDispose]: () => server.end(),
      };
    },
  },
];

/** Deploys to the app `default`, as an owner. */
export async function ready(engine: DeploymentEngine) {
  const opened = await engine.open();
  const { db, services } = opened;
  const actor = await owner(db);
  const deploy = (
    scripts: DeploymentScript[],
    options: Omit<DeploymentInput, "scripts"> = {},
  ): Promise<Deployment> => services.deployments.create(actor, "default", { scripts, ...options });
  const audited = () => auditedActions(db);
  return {
    ...opened,
    ...services,
    db,
    actor,
    deploy,
    audited,
    as: (more: Partial<Actor>) => ({ ...actor, ...more }),
  };
}

/** `create script a: detail`, one for each line. */
export function linesOf({ changes }: Deployment): string[] {
  return changes.map(({ action, kind, script, name, detail }) => {
    const of = kind === "script" ? name : `${script} ${name}`;
    return `${action} ${kind} ${of}${detail === "" ? "" : `: ${detail}`}`;
  });
}

/** Those that are not `unchanged`. */
export function changedLinesOf(deployment: Deployment): string[] {
  return linesOf(deployment).filter((line) => !line.startsWith("unchanged "));
}

export function endpointOf(name: string, more: Partial<DeploymentScript> = {}): DeploymentScript {
  return { name, source: `source of ${name}`, ...more };
}

export function moduleOf(name: string, more: Partial<DeploymentScript> = {}): DeploymentScript {
  return endpointOf(name, { kind: "module", ...more });
}

/** Every part of it has the number in it; some scripts come and go with it. */
export function numberedManifest(number: number): DeploymentScript[] {
  const numbered = Array.from({ length: 8 }, (_, index) =>
    endpointOf(`script${index}`, {
      source: `// import labels\n${number}`,
      description: `${number}`,
      routes: [{ path: `/${index}/${number}` }, { path: `/stays/${index}/:of${number}` }],
      triggers: [{ kind: "kv", collection: `c${number}` }],
    }),
  );
  const passing = endpointOf(`passing${number % 3}`, {
    source: `${number}`,
    description: `${number}`,
  });
  return [
    ...numbered,
    passing,
    moduleOf("labels", { source: `${number}`, description: `${number}` }),
  ];
}

export async function errorOf(work: Promise<unknown>): Promise<{
  code: string;
  message: string;
  details: { errors?: { path: string; message: string }[]; extra?: Record<string, unknown> };
}> {
  try {
    await work;
  } catch (error) {
    return error as Awaited<ReturnType<typeof errorOf>>;
  }
  throw new Error("it did not fail");
}

async function auditedActions(db: Database): Promise<string[]> {
  const rows = await db.all(sql<{ action: string }>`select action from audit order by at, id`);
  return rows.map(({ action }) => action);
}

/** How many rows of every table that a deployment writes. */
export async function rowsOf(db: Database): Promise<Record<string, number>> {
  const tables = ["scripts", "script_versions", "script_imports", "routes", "triggers", "audit"];
  const counts: Record<string, number> = {};
  for (const table of tables) {
    const text = { texts: [`select count(*) as count from ${table}`], values: [] as SqlValue[] };
    counts[table] = (await db.get<{ count: number }>(text))?.count ?? 0;
  }
  return counts;
}

/** What waits for a trigger, so many times. */
export async function fillOutbox(
  db: Database,
  target: { app_id: string; script_id: string; trigger_id: string },
  count: number,
): Promise<void> {
  const { insertDelivery } = await import("../../src/storage/outbox.ts");
  await db.tx(async (tx) => {
    for (let i = 0; i < count; i += 1) {
      await insertDelivery(tx, {
        ...target,
        event_id: newId(),
        source: "kv",
        type: "insert",
        depth: 0,
        root_execution_id: "x",
        created_at: 1,
        attempt: 0,
        attempt_base: 0,
        crashes: 0,
        fence: 0,
        retry: null,
        due_at: 0,
        dead_letter_id: null,
        payload: "{}",
      });
    }
  });
}
