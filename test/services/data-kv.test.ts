import { expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import { kvListBytesMax } from "../../src/domain/limits.ts";
import { addTrigger, appIds, by, events, onEachEngine } from "./data-setup.ts";
import { codeOf } from "./fakes.ts";

const page = { limit: 50, cursor: null };

onEachEngine("an app's entries, for people", (open) => {
  test("are written, read and deleted under names that look like anything", async () => {
    const { kv } = await open();
    const names = [
      "a/../b",
      "%2f%00",
      "' or 1=1 --",
      "app-two",
      "ü😀",
      " ",
      "\n",
      "__proto__",
      "*",
    ];
    for (const collection of names) {
      for (const key of names) {
        const value = { collection, key, list: [], nul: "\0" };
        expect(await kv.set(by("r"), "one", { collection, key, value })).toBe(1);
        expect(await kv.set(by("r"), "one", { collection, key, value })).toBe(2);
      }
    }
    const found = await kv.collections(appIds.one, page);
    expect(found.items.map(({ name }) => name).sort()).toEqual([...names].sort());
    expect(found.items.every(({ records, more }) => records === names.length && !more)).toBe(true);
    for (const collection of names) {
      for (const key of names) {
        const entry = await kv.get("one", { collection, key });
        expect(JSON.parse(entry.value)).toEqual({ collection, key, list: [], nul: "\0" });
        expect([entry.version, entry.expires_at]).toEqual([2, null]);
        await kv.delete(by("r"), "one", { collection, key, if_version: 2 });
        expect(await codeOf(kv.get("one", { collection, key }))).toBe("not_found");
      }
    }
    expect((await kv.collections("one", page)).items).toEqual([]);
  });

  test("of another app are neither seen nor changed", async () => {
    const { kv } = await open();
    const place = { collection: "c", key: "k" };
    await kv.set(by("r"), "one", { ...place, value: 1 });
    expect(await codeOf(kv.get("two", place))).toBe("not_found");
    expect(await codeOf(kv.delete(by("r"), "two", { ...place, if_version: null }))).toBe(
      "not_found",
    );
    await kv.set(by("r"), "two", { ...place, value: 2 });
    expect(await kv.clear(by("r"), "two", { collection: "c", emit: false })).toEqual({
      count: 1,
      more: false,
    });
    expect((await kv.get("one", place)).value).toBe("1");
    for (const app of ["three", "01890a5d-ac96-774b-bcce-b302099a8003", "", "' or 1=1", "ONE"]) {
      expect(await codeOf(kv.get(app, place))).toBe("not_found");
      expect(await codeOf(kv.collections(app, page))).toBe("not_found");
    }
  });

  test("are refused by the rules of scripts", async () => {
    const { kv } = await open();
    const set = (part: object) =>
      codeOf(kv.set(by("r"), "one", { collection: "c", key: "k", value: 1, ...part }));
    expect(await set({ key: "" })).toBe("kv_invalid_key");
    expect(await set({ key: "a\0b" })).toBe("kv_invalid_key");
    expect(await set({ key: "\ud800" })).toBe("kv_invalid_key");
    expect(await set({ key: "é".repeat(257) })).toBe("kv_invalid_key");
    expect(await set({ collection: "x".repeat(129) })).toBe("kv_invalid_key");
    expect(await set({ value: "x".repeat(256 * 1024) })).toBe("kv_value_too_large");
    expect(await set({ ttl_seconds: 0 })).toBe("invalid");
    expect(await set({ ttl_seconds: 1e12 })).toBe("invalid");
    expect(await codeOf(kv.entries("one", { collection: "" }, page))).toBe("kv_invalid_key");
    expect((await kv.collections("one", page)).items).toEqual([]);
  });

  test("are written only in the place of the version that was seen", async () => {
    const { kv } = await open();
    const place = { collection: "c", key: "k" };
    const set = (if_version: number) => kv.set(by("r"), "one", { ...place, value: 1, if_version });
    expect(await codeOf(set(1))).toBe("kv_version_conflict");
    expect(await set(0)).toBe(1);
    const refused = await set(0).catch((error: unknown) => error);
    expect(refused instanceof PicError && refused.details.extra).toEqual({ version: 1 });
    expect(await set(1)).toBe(2);
    const gone = kv.delete(by("r"), "one", { ...place, if_version: 1 });
    expect(await codeOf(gone)).toBe("kv_version_conflict");
    // Both have seen 2: one of them wins.
    const both = await Promise.allSettled([set(2), set(2)]);
    expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  test("keep their expiry when only the value is edited, and lose it with null", async () => {
    const { kv, clock } = await open();
    const place = { collection: "c", key: "k" };
    const expiry = async () => (await kv.get("one", place)).expires_at;
    await kv.set(by("r"), "one", { ...place, value: 1, ttl_seconds: 60 });
    const at = clock.now() + 60_000;
    await kv.set(by("r"), "one", { ...place, value: 2 });
    expect(await expiry()).toBe(at);
    await kv.set(by("r"), "one", { ...place, value: 2, ttl_seconds: null });
    expect(await expiry()).toBeNull();
    await kv.set(by("r"), "one", { ...place, value: 2, ttl_seconds: 1 });
    clock.pass(1_000);
    expect(await codeOf(kv.get("one", place))).toBe("not_found");
    expect((await kv.entries("one", { collection: "c" }, page)).items).toEqual([]);
    expect((await kv.collections("one", page)).items).toEqual([]);
    expect(await kv.set(by("r"), "one", { ...place, value: 3, if_version: 0 })).toBe(1);
  });

  test("come in pages that end early when values are large, and none is left out", async () => {
    const { kv } = await open();
    const value = "x".repeat(200 * 1024);
    const keys = Array.from({ length: 13 }, (_, index) => `k${String(index).padStart(2, "0")}`);
    for (const key of keys) await kv.set(by("r"), "one", { collection: "c", key, value });
    await kv.set(by("r"), "one", { collection: "c", key: "other", value: 1 });
    const found: string[] = [];
    let cursor: string | null = null;
    let pages = 0;
    do {
      const asked = { limit: 9, cursor };
      const part: Awaited<ReturnType<typeof kv.entries>> = await kv.entries(
        "one",
        { collection: "c", prefix: "k" },
        asked,
      );
      const bytes = part.items.reduce((sum, item) => sum + item.value.length, 0);
      expect(bytes).toBeLessThan(kvListBytesMax + value.length + 3);
      found.push(...part.items.map(({ key }) => key));
      cursor = part.next_cursor;
      pages += 1;
    } while (cursor !== null);
    expect(found).toEqual(keys);
    expect(pages).toBeGreaterThan(2);
    const foreign = kv.entries(
      "one",
      { collection: "c", prefix: "z" },
      { limit: 9, cursor: "WyJrIl0" },
    );
    expect(await codeOf(foreign)).toBe("invalid");
  });

  test("their collections come in pages by name", async () => {
    const { kv } = await open();
    const names = ["A", "a", "b", "é", "～", "😀"];
    for (const collection of names)
      await kv.set(by("r"), "one", { collection, key: "k", value: 1 });
    const found: string[] = [];
    let cursor: string | null = null;
    do {
      const part: Awaited<ReturnType<typeof kv.collections>> = await kv.collections("one", {
        limit: 2,
        cursor,
      });
      expect(part.items.length).toBeLessThanOrEqual(2);
      found.push(...part.items.map(({ name }) => name));
      cursor = part.next_cursor;
    } while (cursor !== null);
    expect(found).toEqual(names);
    expect(await codeOf(kv.collections("one", { limit: 2, cursor: "x" }))).toBe("invalid");
  });

  test("edits are events of the request, at depth 0", async () => {
    const { kv, db } = await open();
    await addTrigger(db, "kv");
    await kv.set(by("req-1"), "one", { collection: "c", key: "k", value: 1 });
    await kv.set(by("req-2"), "one", { collection: "c", key: "k", value: 2 });
    await kv.delete(by("req-3"), "one", { collection: "c", key: "k", if_version: null });
    await kv.set(by("req-4"), "two", { collection: "c", key: "k", value: 1 });
    expect(await events(db)).toEqual(["insert k 0 req-1", "update k 0 req-2", "delete k 0 req-3"]);
  });

  test("a collection is cleared in steps, and other collections stay", async () => {
    const { kv, db, transfer } = await open();
    await addTrigger(db, "kv");
    const lines = Array.from({ length: 1_300 }, (_, key) => `{"key":"${key}","value":${key}}\n`);
    const given = { mode: "fail", dry_run: false, emit: false } as const;
    const bytes = Buffer.from(lines.join(""));
    await transfer.import(by("r"), "one", "kv", {
      ...given,
      collection: "c",
      chunks: chunk(bytes),
    });
    await kv.set(by("r"), "one", { collection: "c2", key: "stays", value: 1 });
    const first = await kv.clear(by("r"), "one", { collection: "c", emit: false });
    expect(first.more).toBe(true);
    expect(first.count).toBeGreaterThanOrEqual(1_000);
    const second = await kv.clear(by("r"), "one", { collection: "c", emit: true });
    expect(second).toEqual({ count: 1_300 - first.count, more: false });
    expect(await kv.clear(by("r"), "one", { collection: "c", emit: true })).toEqual({
      count: 0,
      more: false,
    });
    expect((await kv.collections("one", page)).items.map(({ name }) => name)).toEqual(["c2"]);
    const emitted = await events(db);
    expect(emitted.filter((event) => event.startsWith("delete"))).toHaveLength(second.count);
    expect(emitted).toHaveLength(second.count + 1);
  });

  test("count in the app's quota", async () => {
    const { kv, clock } = await open({ rows: 3 });
    const set = (key: string) => kv.set(by("r"), "one", { collection: "c", key, value: 1 });
    let count = 0;
    while ((await codeOf(set(`k${count}`))) === "none") count += 1;
    // What is written while the app is measured may be above the bound; nothing below it is refused.
    expect(count).toBeGreaterThanOrEqual(3);
    expect(await codeOf(set("k9999"))).toBe("quota_exceeded");
    expect(await set("k0")).toBe(2);
    await kv.delete(by("r"), "one", { collection: "c", key: "k0", if_version: 2 });
    for (let extra = 3; extra < count; extra += 1) {
      await kv.delete(by("r"), "one", { collection: "c", key: `k${extra}`, if_version: null });
    }
    // An app is not measured again at once.
    clock.pass(60_000);
    expect(await set("k9999")).toBe(1);
  });
});

async function* chunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
