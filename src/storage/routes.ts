/** Routes, stored as typed. Which of them conflict is decided in routing/, inside one transaction. */
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Route } from "../domain/routes.ts";
import type { Database, Reader, Seen, Tx } from "./port.ts";
import { sql } from "./sql.ts";

type RouteRow = Route;

const columns = sql`id, app_id, script_id, path, path_kind, method, host, host_kind,
  host_param_name, dispatch_mode, created_at, created_by`;

/**
 * Throws PicError `conflict` when an equal route exists, or the script is not one of the app.
 */
export async function insertRoute(tx: Tx, route: Route): Promise<void> {
  await tx.run(sql`insert into routes (${columns})
    values (${route.id}, ${route.app_id}, ${route.script_id}, ${route.path}, ${route.path_kind},
      ${route.method}, ${route.host}, ${route.host_kind}, ${route.host_param_name},
      ${route.dispatch_mode}, ${route.created_at}, ${route.created_by})`);
}

export async function getRoute(r: Reader, id: string): Promise<Route | null> {
  const row = await r.get(sql<RouteRow>`select ${columns} from routes where id = ${id}`);
  return row && toRoute(row);
}

/** Oldest first. */
export async function listRoutesOfScript(
  db: Database,
  script_id: string,
  page: PageRequest,
): Promise<Page<Route>> {
  checkLimit(page.limit);
  const [at, id] =
    page.cursor === null
      ? [Number.MIN_SAFE_INTEGER, ""]
      : decodeCursor(page.cursor, ["number", "string"]);
  const rows = await db.scan(sql<RouteRow>`select ${columns} from routes
    where script_id = ${script_id} and (created_at, id) > (${at}, ${id})
    order by created_at, id limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: toRoute, key: (row) => [row.created_at, row.id] });
}

/** Every route there is, in no order, for the table in memory. */
export async function allRoutes(db: Database, seen?: Seen): Promise<Route[]> {
  return (await db.scan(sql<RouteRow>`select ${columns} from routes`, seen)).map(toRoute);
}

/** Every route of an app, oldest first. */
export async function routesOfApp(r: Reader, app_id: string): Promise<Route[]> {
  const rows = await r.all(sql<RouteRow>`select ${columns} from routes
    where app_id = ${app_id} order by created_at, id`);
  return rows.map(toRoute);
}

export async function countRoutesOfScript(r: Reader, script_id: string): Promise<number> {
  const row = await r.get(
    sql<{ count: number }>`select count(*) as count from routes where script_id = ${script_id}`,
  );
  return row?.count ?? 0;
}

/**
 * Writes all but id, app, and who made it and when. Resolves false when there was none. Throws PicError
 * `conflict` as `insertRoute` does.
 */
export async function updateRoute(tx: Tx, route: Route): Promise<boolean> {
  const { changes } = await tx.run(sql`update routes set script_id = ${route.script_id},
      path = ${route.path}, path_kind = ${route.path_kind}, method = ${route.method},
      host = ${route.host}, host_kind = ${route.host_kind},
      host_param_name = ${route.host_param_name}, dispatch_mode = ${route.dispatch_mode}
    where id = ${route.id}`);
  return changes > 0;
}

/** Resolves false when there was none. */
export async function deleteRoute(tx: Tx, id: string): Promise<boolean> {
  return (await tx.run(sql`delete from routes where id = ${id}`)).changes > 0;
}

/** Until this transaction ends no other one writes routes. */
export async function lockRoutes(tx: Tx): Promise<void> {
  await tx.lock("routes");
}

function toRoute(row: RouteRow): Route {
  return {
    id: row.id,
    app_id: row.app_id,
    script_id: row.script_id,
    path: row.path,
    path_kind: row.path_kind,
    method: row.method,
    host: row.host,
    host_kind: row.host_kind,
    host_param_name: row.host_param_name,
    dispatch_mode: row.dispatch_mode,
    created_at: row.created_at,
    created_by: row.created_by,
  };
}
