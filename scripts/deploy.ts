/**
 * Deploys a folder with a picloud.json over the HTTP API: its scripts and their routes. A second run
 * changes only what differs; nothing is deleted.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { PicClient } from "../src/client.ts";
import type { ScriptLimits } from "../src/domain/limits.ts";
import type { RouteMethod } from "../src/domain/routes.ts";
import type { ScriptKind } from "../src/domain/scripts.ts";

interface ManifestRoute {
  method?: RouteMethod;
  path: string;
  host?: string;
}

interface ManifestScript {
  name: string;
  /** The source, beside the manifest. */
  file: string;
  kind?: ScriptKind;
  description?: string;
  limits?: Partial<ScriptLimits>;
  public_execute?: boolean;
  routes?: ManifestRoute[];
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
  for (const { method = "ANY", path, host = "" } of routes) {
    const isThere = items.some(
      (route) => route.method === method && route.path === path && route.host === host,
    );
    if (!isThere) await client.routes.create(scriptId, { method, path, host });
  }
}
