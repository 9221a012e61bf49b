/** Small facts about this installation, by name. */
import type { Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

export async function getSetting(r: Reader, name: string): Promise<string | null> {
  const row = await r.get(sql<{ value: string }>`select value from settings where name = ${name}`);
  return row?.value ?? null;
}

export async function setSetting(tx: Tx, name: string, value: string): Promise<void> {
  await tx.run(sql`insert into settings (name, value) values (${name}, ${value})
    on conflict (name) do update set value = excluded.value`);
}

/** A whole number from 0 up, kept as text, which only grows: of several writers the highest wins. */
export async function raiseSetting(tx: Tx, name: string, value: number): Promise<void> {
  await tx.run(sql`insert into settings (name, value) values (${name}, ${String(value)})
    on conflict (name) do update set value = excluded.value
    where length(excluded.value) > length(settings.value)
      or (length(excluded.value) = length(settings.value) and excluded.value > settings.value)`);
}

/** Resolves false when there was none. */
export async function deleteSetting(tx: Tx, name: string): Promise<boolean> {
  return (await tx.run(sql`delete from settings where name = ${name}`)).changes > 0;
}
