/** What a response may tell: only what a power cut cannot take back. */
import type { Database } from "../storage/port.ts";
import { sql } from "../storage/sql.ts";

/** Beyond every commit: where even this is durable, a commit is so by itself, and nothing need be asked. */
const everything = { seq: Number.MAX_SAFE_INTEGER };

/** Resolves when every commit that a reader could have seen until now is durable. */
export async function settled(db: Database): Promise<void> {
  if (db.isDurable(everything)) return;
  const seen = { seq: 0 };
  await db.get(sql`select 1 as one`, seen);
  if (!db.isDurable(seen)) await db.durable(seen);
}
