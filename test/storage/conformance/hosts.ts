import { expect, test } from "bun:test";
import type { AppHost } from "../../../src/domain/app-hosts.ts";
import { insertAccount } from "../../../src/storage/accounts.ts";
import { deleteApp, getApp, insertApp, lockApps, updateApp } from "../../../src/storage/apps.ts";
import { allHosts, deleteHost, insertHost, listHostsOfApp } from "../../../src/storage/hosts.ts";
import type { Database } from "../../../src/storage/port.ts";
import { sql } from "../../../src/storage/sql.ts";
import { app, codeOf, type Engine, messageOf, opener, seed } from "./engine.ts";

const other = { ...app, id: "app-2", slug: "other" };

export function hostConformance(engine: Engine): void {
  const open = opener(engine);

  async function ready(): Promise<Database> {
    const { db } = await open();
    await seed(db);
    await db.tx((tx) => insertApp(tx, other));
    return db;
  }

  test("a host comes back as it was given, and belongs to one app", async () => {
    const db = await ready();
    await add(db, host("*.home.lan"), host("home.lan", { app_id: other.id }));
    expect(await allHosts(db)).toContainEqual(host("*.home.lan"));
    for (const app_id of [app.id, other.id]) {
      expect(await codeOf(add(db, host("home.lan", { app_id })))).toBe("conflict");
    }
    expect(await codeOf(add(db, host("a.lan", { app_id: "app-9" })))).toBe("conflict");
    expect(await allHosts(db)).toHaveLength(2);
  });

  test("only its own app loses a host", async () => {
    const db = await ready();
    await add(db, host("home.lan"));
    const drop = (app_id: string, name: string) =>
      db.tx((tx) => deleteHost(tx, { app_id, host: name }));
    expect(await drop(other.id, "home.lan")).toBe(false);
    expect(await drop(app.id, "HOME.lan")).toBe(false);
    expect(await drop(app.id, "%")).toBe(false);
    expect(await drop(app.id, "home.lan")).toBe(true);
    expect(await drop(app.id, "home.lan")).toBe(false);
  });

  test("an app's hosts are listed by name, page by page, and go with it", async () => {
    const db = await ready();
    const names = ["*.b.lan", "a.lan", "b.lan", "c.lan", "xn--d.lan"];
    await add(db, ...names.toReversed().map((name) => host(name)));
    await add(db, host("ab.lan", { app_id: other.id }));
    const first = await listHostsOfApp(db, app.id, { limit: 2, cursor: null });
    const second = await listHostsOfApp(db, app.id, { limit: 9, cursor: first.next_cursor });
    expect([...first.items, ...second.items].map((one) => one.host)).toEqual(names);
    expect(second.next_cursor).toBeNull();
    await db.tx((tx) => deleteApp(tx, app.id));
    expect((await allHosts(db)).map((one) => one.host)).toEqual(["ab.lan"]);
  });

  test("a host outlives the account that gave it; no host is empty or endless", async () => {
    const db = await ready();
    await db.tx(async (tx) => {
      await insertAccount(tx, {
        id: "acc",
        username: "ann",
        password_hash: "x",
        role: "owner",
        is_active: true,
        created_at: 1,
        nomination: null,
      });
      await insertHost(tx, host("a.lan", { created_by: "acc" }));
    });
    await db.tx((tx) => tx.run(sql`delete from accounts where id = ${"acc"}`));
    expect(await allHosts(db)).toEqual([host("a.lan")]);
    for (const bad of ["", "a".repeat(258)]) {
      expect(await messageOf(add(db, host(bad)))).toContain("onstraint");
    }
    expect(await codeOf(add(db, host("a\0b")))).toBe("invalid");
  });

  test("an app is renamed, but not to what another is called", async () => {
    const db = await ready();
    const rename = (id: string, slug: string) =>
      db.tx(async (tx) => {
        await lockApps(tx);
        return updateApp(tx, { ...app, id, slug, name: "New" });
      });
    expect(await rename(app.id, "blog")).toBe(true);
    expect(await getApp(db, app.id)).toEqual({ ...app, slug: "blog", name: "New" });
    expect(await codeOf(rename(other.id, "blog"))).toBe("conflict");
    expect(await rename("app-9", "none")).toBe(false);
    expect(await getApp(db, other.id)).toEqual(other);
  });
}

function add(db: Database, ...hosts: AppHost[]): Promise<void> {
  return db.tx(async (tx) => {
    for (const one of hosts) await insertHost(tx, one);
  });
}

function host(name: string, more: Partial<AppHost> = {}): AppHost {
  return { host: name, app_id: app.id, created_at: 1, created_by: null, ...more };
}
