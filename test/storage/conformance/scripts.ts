import { describe, expect, test } from "bun:test";
import type { Page, PageRequest } from "../../../src/domain/pages.ts";
import {
  countAppScripts,
  deleteApp,
  getApp,
  getAppBySlug,
  insertApp,
  listApps,
} from "../../../src/storage/apps.ts";
import { getKv, setKv } from "../../../src/storage/kv.ts";
import {
  deleteScript,
  getProgram,
  getScript,
  getScriptByName,
  getVersion,
  insertScript,
  insertVersion,
  listScripts,
  listVersions,
  updateScript,
} from "../../../src/storage/scripts.ts";
import { sql } from "../../../src/storage/sql.ts";
import { app, codeOf, type Engine, messageOf, opener, script, seed, version } from "./engine.ts";

type Open = ReturnType<typeof opener>;

export function scriptConformance(engine: Engine): void {
  const open = opener(engine);
  describe("apps", () => appTests(open));
  describe("scripts", () => scriptTests(open));
  describe("versions", () => versionTests(open));
}

function appTests(open: Open): void {
  test("an app is found by id and by slug; a slug is taken once", async () => {
    const { db } = await open();
    await seed(db);
    expect(await getApp(db, app.id)).toEqual(app);
    expect(await getAppBySlug(db, "default")).toEqual(app);
    expect(await getApp(db, "default")).toBeNull();
    const again = db.tx((tx) => insertApp(tx, { ...app, id: "app-2" }));
    expect(await codeOf(again)).toBe("conflict");
  });

  test("the schema refuses the slugs and names that the domain refuses", async () => {
    const { db } = await open();
    for (const slug of ["", "-a", "a-", "A", "a_b", "é", "a b", "a".repeat(64)]) {
      const bad = db.tx((tx) => insertApp(tx, { ...app, slug }));
      expect(await messageOf(bad)).toContain("onstraint");
    }
    for (const name of ["", "n".repeat(129)]) {
      const bad = db.tx((tx) => insertApp(tx, { ...app, name }));
      expect(await messageOf(bad)).toContain("onstraint");
    }
    await db.tx((tx) =>
      insertApp(tx, { ...app, slug: `a${"-".repeat(61)}9`, name: "😀".repeat(64) }),
    );
  });

  test("apps are listed by slug, page by page", async () => {
    const { db } = await open();
    const slugs = ["a", "b", "c", "d", "e"];
    await db.tx(async (tx) => {
      for (const slug of [...slugs].reverse())
        await insertApp(tx, { ...app, id: `id-${slug}`, slug });
    });
    const pages = await allPages((page) => listApps(db, page), 2);
    expect(pages.map((page) => page.map((one) => one.slug))).toEqual([
      ["a", "b"],
      ["c", "d"],
      ["e"],
    ]);
    // A page that is exactly full is the last one.
    expect((await listApps(db, { limit: 5, cursor: null })).next_cursor).toBeNull();
  });

  test("deleting an app takes its scripts, versions and data, and nobody else's", async () => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    await db.tx(async (tx) => {
      await insertApp(tx, { ...app, id: "app-2", slug: "other" });
      await insertScript(tx, script("s3", { app_id: "app-2" }));
      await insertVersion(tx, version("s3"));
      await setKv(tx, app.id, "c", "k", { value: "1", expires_at: null, now: 1 });
      await setKv(tx, "app-2", "c", "k", { value: "2", expires_at: null, now: 1 });
    });
    expect(await countAppScripts(db, app.id)).toBe(2);
    expect(await db.tx((tx) => deleteApp(tx, app.id))).toBe(true);
    expect(await db.tx((tx) => deleteApp(tx, app.id))).toBe(false);
    expect(await countAppScripts(db, app.id)).toBe(0);
    expect(await getScript(db, "s1")).toBeNull();
    expect(await getVersion(db, "s1", 1)).toBeNull();
    expect(await getKv(db, app.id, "c", "k", 1)).toBeNull();
    expect(await getVersion(db, "s3", 1)).toEqual(version("s3"));
    expect(await getKv(db, "app-2", "c", "k", 1)).toMatchObject({ value: "2", version: 1 });
  });
}

function scriptTests(open: Open): void {
  test("a script comes back as it was written, with what a run needs in one statement", async () => {
    const { db } = await open();
    const one = script("s1", { limits: { cpu_ms: 5 }, public_execute: true, description: "♥" });
    await seed(db, one);
    expect(await getScript(db, "s1")).toEqual(one);
    expect(await getScriptByName(db, app.id, one.name)).toEqual(one);
    expect(await getScriptByName(db, "app-2", one.name)).toBeNull();
    expect(await getProgram(db, "s1")).toEqual({
      script: one,
      code: "code 1",
      imports: ["picloud"],
      code_bytes: 6,
      modules: [],
    });
    expect(await getProgram(db, "s2")).toBeNull();
  });

  test("a script is changed and deleted; its active version must exist", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const changed = script("s1", { name: "new", active_version: 2, updated_at: 9, kind: "module" });
    expect(await codeOf(db.tx((tx) => updateScript(tx, changed)))).toBe("conflict");
    await db.tx(async (tx) => {
      expect(await updateScript(tx, changed)).toBe(true);
      await insertVersion(tx, version("s1", 2));
    });
    expect(await getProgram(db, "s1")).toMatchObject({ script: changed, code: "code 2" });
    expect(await db.tx((tx) => updateScript(tx, script("s2")))).toBe(false);
    expect(await db.tx((tx) => deleteScript(tx, "s1"))).toBe(true);
    expect(await db.tx((tx) => deleteScript(tx, "s1"))).toBe(false);
    expect(await getVersion(db, "s1", 1)).toBeNull();
  });

  test("a name is taken once in an app, and a script needs an app and a version", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const same = script("s2", { name: "name-s1" });
    expect(await codeOf(db.tx((tx) => insertScript(tx, same)))).toBe("conflict");
    const lost = script("s2", { app_id: "app-9" });
    expect(await codeOf(db.tx((tx) => insertScript(tx, lost)))).toBe("conflict");
    expect(await codeOf(db.tx((tx) => insertScript(tx, script("s2"))))).toBe("conflict");
  });

  test("scripts are listed by name and filtered by app, kind and text", async () => {
    const { db } = await open();
    await seed(
      db,
      script("s1", { name: "Beta", description: "50% off" }),
      script("s2", { name: "alpha", kind: "module" }),
      script("s3", { name: "a_c" }),
      script("s4", { name: "abc", description: "back\\slash" }),
    );
    const names = async (filter: Parameters<typeof listScripts>[1]) =>
      (await allPages((page) => listScripts(db, filter, page), 2)).flat().map((one) => one.name);
    expect(await names({})).toEqual(["Beta", "a_c", "abc", "alpha"]);
    expect(await names({ app_id: app.id, kind: "module" })).toEqual(["alpha"]);
    expect(await names({ app_id: "app-2" })).toEqual([]);
    expect(await names({ q: "BET" })).toEqual(["Beta"]);
    expect(await names({ q: "a_" })).toEqual(["a_c"]);
    expect(await names({ q: "%" })).toEqual(["Beta"]);
    expect(await names({ q: "k\\s" })).toEqual(["abc"]);
    expect(await names({ q: "x".repeat(100_000) })).toEqual([]);
  });

  test("a cursor that we did not make is refused", async () => {
    const { db } = await open();
    const made = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const bad = ["", "%", "é", "AAAA", made(["a"]), made(["a", 1]), made({}), made(["a\0", "b"])];
    for (const cursor of [...bad, made(["\ud800", "b"]), "A".repeat(100_000)]) {
      expect(await codeOf(listScripts(db, {}, { limit: 1, cursor }))).toBe("invalid");
    }
    for (const limit of [0, -1, 1.5, 201, Number.NaN]) {
      expect(await codeOf(listScripts(db, {}, { limit, cursor: null }))).toBe("invalid");
    }
  });
}

function versionTests(open: Open): void {
  test("versions are listed newest first without their texts; a cursor survives new ones", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    await db.tx(async (tx) => {
      for (let number = 2; number <= 5; number += 1) await insertVersion(tx, version("s1", number));
    });
    const first = await listVersions(db, "s1", { limit: 2, cursor: null });
    await db.tx((tx) => insertVersion(tx, version("s1", 6)));
    const second = await listVersions(db, "s1", { limit: 3, cursor: first.next_cursor });
    expect(first.items.map((item) => item.number)).toEqual([5, 4]);
    expect(second.items.map((item) => item.number)).toEqual([3, 2, 1]);
    expect(second.next_cursor).toBeNull();
    const { kind, created_by } = version("s1");
    expect(second.items[2]).toEqual({
      number: 1,
      kind,
      created_at: 3_001,
      created_by,
      source_bytes: 8,
    });
    expect(await getVersion(db, "s1", 6)).toEqual(version("s1", 6));
  });

  test("a version number is taken once", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    expect(await codeOf(db.tx((tx) => insertVersion(tx, version("s1"))))).toBe("conflict");
  });

  test("every change of a version is rejected, however it is written", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const changes = [
      sql`update script_versions set code = 'other'`,
      sql`update script_versions set number = number`,
      sql`delete from script_versions`,
      sql`delete from script_versions where number = 1`,
      sql`insert into script_versions select * from script_versions where true
        on conflict (script_id, number) do update set code = 'other'`,
    ];
    for (const change of changes) {
      expect(await messageOf(db.tx((tx) => tx.run(change)))).toContain("append-only");
    }
    expect(await getVersion(db, "s1", 1)).toEqual(version("s1"));
  });

  test("versions go when their script does, and may then be written anew", async () => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    await db.tx(async (tx) => {
      await deleteScript(tx, "s1");
      await insertScript(tx, script("s1"));
      await insertVersion(tx, { ...version("s1"), code: "new" });
    });
    expect((await getProgram(db, "s1"))?.code).toBe("new");
    expect(await getVersion(db, "s2", 1)).not.toBeNull();
  });
}

async function allPages<T>(
  list: (page: PageRequest) => Promise<Page<T>>,
  limit: number,
): Promise<T[][]> {
  const pages: T[][] = [];
  let cursor: string | null = null;
  do {
    const page: Page<T> = await list({ limit, cursor });
    pages.push(page.items);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return pages;
}
