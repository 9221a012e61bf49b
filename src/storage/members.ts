/** Members of apps. A membership goes with its account and with its app, by foreign keys. */
import type { AppRole, Visibility } from "../domain/access.ts";
import type { Member, Membership } from "../domain/members.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import { visibleOf } from "./access.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

interface MemberRow extends Omit<Member, "is_active"> {
  is_active: number;
}

const columns = sql`m.app_id, m.account_id, a.username, a.role as account_role, m.role,
  a.is_active, m.created_at, m.created_by`;

/**
 * Who decides by a role that he has read takes it first, in his transaction: until that ends, nobody
 * else changes the members of the app.
 */
export async function lockMembers(tx: Tx, app_id: string): Promise<void> {
  await tx.lock(`members:${app_id}`);
}

/** Makes a member, or gives one another role. Throws PicError `conflict`: no such account or app. */
export async function putMember(
  tx: Tx,
  member: Pick<Member, "app_id" | "account_id" | "role" | "created_at" | "created_by">,
): Promise<void> {
  await tx.run(sql`insert into app_members (app_id, account_id, role, created_at, created_by)
    values (${member.app_id}, ${member.account_id}, ${member.role}, ${member.created_at},
      ${member.created_by})
    on conflict (account_id, app_id) do update set role = excluded.role`);
}

export async function getMember(
  r: Reader,
  app_id: string,
  account_id: string,
): Promise<Member | null> {
  const row = await r.get(sql<MemberRow>`select ${columns}
    from app_members as m join accounts as a on a.id = m.account_id
    where m.account_id = ${account_id} and m.app_id = ${app_id}`);
  return row && toMember(row);
}

/** By username. */
export async function listMembers(
  db: Database,
  app_id: string,
  page: PageRequest,
): Promise<Page<Member>> {
  checkLimit(page.limit);
  const [after] = page.cursor === null ? [""] : decodeCursor(page.cursor, ["string"]);
  const rows = await db.scan(sql<MemberRow>`select ${columns}
    from app_members as m join accounts as a on a.id = m.account_id
    where m.app_id = ${app_id} and a.username > ${after}
    order by a.username limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: toMember, key: (row) => [row.username] });
}

/** The role that the member had, or null: there was none. */
export async function deleteMember(
  tx: Tx,
  app_id: string,
  account_id: string,
): Promise<AppRole | null> {
  const row = await tx.get(sql<{ role: AppRole }>`delete from app_members
    where account_id = ${account_id} and app_id = ${app_id} returning role`);
  return row?.role ?? null;
}

/** Of the apps that an account belongs to the first so many that are visible, by slug. */
export function listMemberships(
  db: Database,
  account_id: string,
  visibility: Visibility,
  limit: number,
): Promise<Membership[]> {
  return db.all(sql<Membership>`select m.app_id, p.slug, m.role
    from app_members as m join apps as p on p.id = m.app_id
    where m.account_id = ${account_id} ${visibleOf(sql`p.id`, visibility)}
    order by p.slug limit ${limit}`);
}

function toMember(row: MemberRow): Member {
  return { ...row, is_active: row.is_active === 1 };
}
