/**
 * Deploys a folder with a picloud.json over the HTTP API: its scripts, their routes and their triggers. A
 * second run changes only what differs; nothing is deleted.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { PicClient } from "../src/client.ts";
import type { ScriptLimits } from "../src/domain/limits.ts";
import type { DispatchMode, RouteMethod } from "../src/domain/routes.ts";
import type { ScriptKind } from "../src/domain/scripts.ts";
import type {
  CronTriggerInput,
  DataTriggerInput,
  DeadLetterTriggerInput,
  WireTrigger,
} from "../src/schema/triggers.ts";

interface ManifestRoute {
  method?: RouteMethod;
  path: string;
  host?: string;
  dispatch_mode?: DispatchMode;
}

/** What the API takes to make one, but for the script. */
type ManifestTrigger =
  | ({ kind: "kv" | "docs" } & Omit<DataTriggerInput, "script_id">)
  | ({ kind: "cron" } & Omit<CronTriggerInput, "script_id">)
  | ({ kind: "dead_letter" } & Omit<DeadLetterTriggerInput, "script_id">);

interface ManifestScript {
  name: string;
  /** The source, beside the manifest. */
  file: string;
  kind?: ScriptKind;
  description?: string;
  limits?: Partial<ScriptLimits>;
  public_execute?: boolean;
  routes?: ManifestRoute[];
  triggers?: ManifestTrigger[];
}

interface Manifest {
  app: string;
  scripts: ManifestScript[];
}

/** What one script needed. */
export type Deployed = { name: string; id: string; change: "created" | "updated" | "unchanged" };

/** Throws PicClientError with what the server refused. */
export async function deployFolder(client: PicClient, folder: string): Promise<Deployed[]> {
  const manifest = JSON.parse(readFileSync(join(folder, "picloud.json"), "utf8")) as Manifest;
  const deployed: Deployed[] = [];
  for (const script of manifest.scripts) {
    const source = readFileSync(join(folder, script.file), "utf8");
    const saved = await deployScript(client, manifest.app, script, source);
    await deployRoutes(client, saved.id, script.routes ?? []);
    await deployTriggers(client, manifest.app, saved.id, script.triggers ?? []);
    deployed.push(saved);
  }
  return deployed;
}

async function deployScript(
  client: PicClient,
  app: string,
  script: ManifestScript,
  source: string,
): Promise<Deployed> {
  const { name, kind = "endpoint", description = "", limits, public_execute = false } = script;
  const wanted = { kind, source, description, public_execute };
  const found = await findScript(client, app, name);
  if (found === null) {
    const options = limits === undefined ? {} : { limits };
    const { id } = await client.scripts.create({ app, name, ...wanted, ...options });
    return { name, id, change: "created" };
  }
  const now = await client.scripts.get(found);
  const isSame = (key: keyof typeof wanted): boolean => now[key] === wanted[key];
  if ((Object.keys(wanted) as (keyof typeof wanted)[]).every(isSame)) {
    return { name, id: found, change: "unchanged" };
  }
  await client.scripts.update(found, wanted);
  return { name, id: found, change: "updated" };
}

async function findScript(client: PicClient, app: string, name: string): Promise<string | null> {
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<PicClient["scripts"]["list"]>> = await client.scripts.list({
      app,
      q: name,
      cursor,
    });
    const found = page.items.find((script) => script.name === name);
    if (found !== undefined) return found.id;
    cursor = page.next_cursor;
  } while (cursor !== null);
  return null;
}

async function deployRoutes(
  client: PicClient,
  scriptId: string,
  routes: ManifestRoute[],
): Promise<void> {
  const { items } = await client.routes.list(scriptId, { limit: 200 });
  for (const { method = "ANY", path, host = "", dispatch_mode = "sync" } of routes) {
    const isThere = items.some(
      (route) => route.method === method && route.path === path && route.host === host,
    );
    if (!isThere) await client.routes.create(scriptId, { method, path, host, dispatch_mode });
  }
}

/** One that is there is left as it is, however it was changed: somebody has. */
async function deployTriggers(
  client: PicClient,
  app: string,
  script_id: string,
  triggers: ManifestTrigger[],
): Promise<void> {
  if (triggers.length === 0) return;
  const { items } = await client.triggers.listOfScript(script_id, { limit: 200 });
  for (const trigger of triggers) {
    if (items.some((item) => isSameTrigger(item, trigger))) continue;
    switch (trigger.kind) {
      case "kv":
      case "docs": {
        const { kind, ...input } = trigger;
        await client.triggers[kind].create(app, { ...input, script_id });
        break;
      }
      case "cron": {
        const { kind: _, ...input } = trigger;
        await client.triggers.cron.create(app, { ...input, script_id });
        break;
      }
      case "dead_letter": {
        const { kind: _, ...input } = trigger;
        await client.triggers.deadLetter.create(app, { ...input, script_id });
      }
    }
  }
}

/** Of one script: the same collection, or the same times. */
function isSameTrigger(there: WireTrigger, wanted: ManifestTrigger): boolean {
  if (there.kind === "dead_letter") return wanted.kind === there.kind;
  if (there.kind === "cron") {
    return wanted.kind === "cron" && wanted.expression === there.expression;
  }
  return wanted.kind === there.kind && (wanted.collection ?? "*") === there.collection;
}
