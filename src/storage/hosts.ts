/** Hosts of apps. Which app may have which is decided in services/hosts.ts, under the lock of routes. */
import type { AppHost } from "../domain/app-hosts.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Database, Seen, Tx } from "./port.ts";
import { sql } from "./sql.ts";

type HostRow = AppHost;

const columns = sql`host, app_id, created_at, created_by`;

/** Throws PicError `conflict` when the host is given to an app already, or there is no such app. */
export async function insertHost(tx: Tx, host: AppHost): Promise<void> {
  await tx.run(sql`insert into app_hosts (${columns})
    values (${host.host}, ${host.app_id}, ${host.created_at}, ${host.created_by})`);
}

/** By name. */
export async function listHostsOfApp(
  db: Database,
  app_id: string,
  page: PageRequest,
): Promise<Page<AppHost>> {
  checkLimit(page.limit);
  const [after] = page.cursor === null ? [""] : decodeCursor(page.cursor, ["string"]);
  const rows = await db.scan(sql<HostRow>`select ${columns} from app_hosts
    where app_id = ${app_id} and host > ${after} order by host limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: toHost, key: (row) => [row.host] });
}

/** Every host of every app, in no order, for the table in memory. */
export async function allHosts(db: Database, seen?: Seen): Promise<AppHost[]> {
  return (await db.scan(sql<HostRow>`select ${columns} from app_hosts`, seen)).map(toHost);
}

/** Resolves false when the app has no such host. */
export async function deleteHost(
  tx: Tx,
  { app_id, host }: Pick<AppHost, "app_id" | "host">,
): Promise<boolean> {
  const done = await tx.run(sql`delete from app_hosts where host = ${host} and app_id = ${app_id}`);
  return done.changes > 0;
}

function toHost(row: HostRow): AppHost {
  return {
    host: row.host,
    app_id: row.app_id,
    created_at: row.created_at,
    created_by: row.created_by,
  };
}
