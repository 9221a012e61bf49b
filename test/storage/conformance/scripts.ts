import { describe, expect, test } from "bun:test";
import type { Account } from "../../../src/domain/accounts.ts";
import type { Page, PageRequest } from "../../../src/domain/pages.ts";
import { insertAccount } from "../../../src/storage/accounts.ts";
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
  activeSources,
  deleteScript,
  getProgram,
  getScript,
  getScriptByName,
  getVersion,
  insertScript,
  insertVersion,
  listScripts,
  listVersions,
  type ScriptFilter,
  scriptsOfApp,
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
    const pages = await allPages((page) => listApps(db, "all", page), 2);
    expect(pages.map((page) => page.map((one) => one.slug))).toEqual([
      ["a", "b"],
      ["c", "d"],
      ["e"],
    ]);
    const some = await allPages((page) => listApps(db, { app_ids: ["id-e", "id-b"] }, page), 1);
    expect(some.flat().map((one) => one.slug)).toEqual(["b", "e"]);
    expect((await listApps(db, { app_ids: [] }, { limit: 5, cursor: null })).items).toEqual([]);
    // A page that is exactly full is the last one.
    expect((await listApps(db, "all", { limit: 5, cursor: null })).next_cursor).toBeNull();
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

  test("the scripts of an app come by name, with what their active versions are", async () => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"), script("s3"));
    const second = { ...version("s2", 2), kind: "module" as const, source: "grün", shape_rule: 1 };
    await db.tx(async (tx) => {
      await insertApp(tx, { ...app, id: "app-2", slug: "two" });
      await insertScript(tx, script("s9", { app_id: "app-2", name: "name-s1" }));
      await insertVersion(tx, version("s9"));
      await insertVersion(tx, second);
      await updateScript(tx, script("s2", { kind: "module", active_version: 2 }));
    });
    const first = { kind: "endpoint", imports: ["picloud"], shape_rule: 0, source_bytes: 8 };
    const of = (names: string[] | null) => scriptsOfApp(db, app.id, names);
    expect(await of(null)).toEqual([
      { script: script("s1"), active: first },
      {
        script: script("s2", { kind: "module", active_version: 2 }),
        active: { kind: "module", imports: ["picloud"], shape_rule: 1, source_bytes: 5 },
      },
      { script: script("s3"), active: first },
    ] as Awaited<ReturnType<typeof of>>);
    const ids = (await of(["name-s3", "name-s9", "name-s1"])).map((one) => one.script.id);
    expect(ids).toEqual(["s1", "s3"]);
    const sources = await activeSources(db, ["s2", "s1", "nothing"]);
    expect(sources.sort((a, b) => (a.script_id < b.script_id ? -1 : 1))).toEqual([
      { script_id: "s1", number: 1, source: "source 1" },
      { script_id: "s2", number: 2, source: "grün" },
    ]);
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
    const names = async (filter: Partial<ScriptFilter>) =>
      (await allPages((page) => listScripts(db, { visible: "all", ...filter }, page), 2))
        .flat()
        .map((one) => one.script.name);
    expect(await names({})).toEqual(["Beta", "a_c", "abc", "alpha"]);
    expect(await names({ app_id: app.id, kind: "module" })).toEqual(["alpha"]);
    expect(await names({ app_id: "app-2" })).toEqual([]);
    expect(await names({ q: "BET" })).toEqual(["Beta"]);
    expect(await names({ q: "a_" })).toEqual(["a_c"]);
    expect(await names({ q: "%" })).toEqual(["Beta"]);
    expect(await names({ q: "k\\s" })).toEqual(["abc"]);
    expect(await names({ q: "x".repeat(100_000) })).toEqual([]);
    expect(await names({ name: "abc" })).toEqual(["abc"]);
    expect(await names({ name: "ab" })).toEqual([]);
    expect(await names({ name: "beta" })).toEqual([]);
    expect(await names({ name: "alpha", app_id: "app-2" })).toEqual([]);
  });

  test("a list of scripts shows only those of the apps that are visible, with app and version", async () => {
    const { db } = await open();
    await seed(db, script("s1", { name: "mine" }));
    const other = { ...app, id: "app-2", slug: "other" };
    await db.tx(async (tx) => {
      await insertApp(tx, other);
      await insertScript(tx, script("s2", { app_id: other.id, name: "theirs", active_version: 2 }));
      for (const number of [1, 2]) await insertVersion(tx, version("s2", number));
    });
    const ids = async (visible: ScriptFilter["visible"], app_id?: string) => {
      const filter = { visible, ...(app_id === undefined ? {} : { app_id }) };
      const found = await listScripts(db, filter, { limit: 10, cursor: null });
      return found.items.map((one) => one.script.id);
    };
    expect(await ids("all")).toEqual(["s1", "s2"]);
    expect(await ids({ app_ids: [] })).toEqual([]);
    expect(await ids({ app_ids: ["app-2"] })).toEqual(["s2"]);
    expect(await ids({ app_ids: ["app-2", "app-9", "' or 1=1"] })).toEqual(["s2"]);
    expect(await ids({ app_ids: ["app-2"] }, app.id)).toEqual([]);
    const visible = { app_ids: ["app-2"] };
    const [found] = (await listScripts(db, { visible }, { limit: 1, cursor: null })).items;
    const { number, created_at, created_by } = version("s2", 2);
    expect(found).toMatchObject({ app: other, active: { number, created_at, created_by } });
  });

  test("a cursor that we did not make is refused", async () => {
    const { db } = await open();
    const made = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const bad = ["", "%", "é", "AAAA", made(["a"]), made(["a", 1]), made({}), made(["a\0", "b"])];
    for (const cursor of [...bad, made(["\ud800", "b"]), "A".repeat(100_000)]) {
      expect(await codeOf(listScripts(db, { visible: "all" }, { limit: 1, cursor }))).toBe(
        "invalid",
      );
    }
    for (const limit of [0, -1, 1.5, 201, Number.NaN]) {
      expect(await codeOf(listScripts(db, { visible: "all" }, { limit, cursor: null }))).toBe(
        "invalid",
      );
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
      created_by_name: null,
      source_bytes: 8,
    });
    expect(await getVersion(db, "s1", 6)).toEqual(version("s1", 6));
  });

  test("versions are listed with the name of who made them, as long as that account is there", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const ada: Account = {
      id: "a1",
      username: "ada",
      password_hash: "x",
      role: "owner",
      is_active: true,
      created_at: 1,
      nomination: null,
    };
    await db.tx(async (tx) => {
      await insertAccount(tx, ada);
      await insertVersion(tx, { ...version("s1", 2), created_by: "a1" });
      await insertVersion(tx, { ...version("s1", 3), created_by: "gone" });
    });
    const { items } = await listVersions(db, "s1", { limit: 9, cursor: null });
    expect(items.map((one) => [one.created_by, one.created_by_name])).toEqual([
      ["gone", null],
      ["a1", "ada"],
      [null, null],
    ]);
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
