/** Apps. Deleting one takes its scripts, routes and data with it, by foreign keys. */
import type { Visibility } from "../domain/access.ts";
import type { App } from "../domain/apps.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import { visibleOf } from "./access.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

type AppRow = App;

/** Throws PicError `conflict` when the slug is taken. */
export async function insertApp(tx: Tx, app: App): Promise<void> {
  await tx.run(sql`insert into apps (id, slug, name, created_at)
    values (${app.id}, ${app.slug}, ${app.name}, ${app.created_at})`);
}

export async function getApp(r: Reader, id: string): Promise<App | null> {
  const row = await r.get(
    sql<AppRow>`select id, slug, name, created_at from apps where id = ${id}`,
  );
  return row && toApp(row);
}

export async function getAppBySlug(r: Reader, slug: string): Promise<App | null> {
  const row = await r.get(
    sql<AppRow>`select id, slug, name, created_at from apps where slug = ${slug}`,
  );
  return row && toApp(row);
}

/** By slug. */
export async function listApps(
  db: Database,
  visible: Visibility,
  page: PageRequest,
): Promise<Page<App>> {
  checkLimit(page.limit);
  const [after] = page.cursor === null ? [""] : decodeCursor(page.cursor, ["string"]);
  const rows = await db.scan(sql<AppRow>`select id, slug, name, created_at from apps
    where slug > ${after} ${visibleOf(sql<never>`id`, visible)} order by slug limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: toApp, key: (row) => [row.slug] });
}

/** Until this transaction ends no other one changes an app's slug or name. */
export async function lockApps(tx: Tx): Promise<void> {
  await tx.lock("apps");
}

/** Its slug and its name. Resolves false when there is none. Throws PicError `conflict` when the slug is taken. */
export async function updateApp(tx: Tx, { id, slug, name }: App): Promise<boolean> {
  const done = await tx.run(sql`update apps set slug = ${slug}, name = ${name} where id = ${id}`);
  return done.changes > 0;
}

/** Resolves false when there was none. */
export async function deleteApp(tx: Tx, id: string): Promise<boolean> {
  return (await tx.run(sql`delete from apps where id = ${id}`)).changes > 0;
}

export async function countAppScripts(r: Reader, id: string): Promise<number> {
  const row = await r.get(
    sql<{ count: number }>`select count(*) as count from scripts where app_id = ${id}`,
  );
  return row?.count ?? 0;
}

function toApp(row: AppRow): App {
  return { id: row.id, slug: row.slug, name: row.name, created_at: row.created_at };
}
