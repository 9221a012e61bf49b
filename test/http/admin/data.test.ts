/** An app's data over HTTP: what people see and edit, and the streams of imports and exports. */
import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { newId } from "../../../src/base/ids.ts";
import { type Logger, silentLogger } from "../../../src/base/log.ts";
import { PicClientError } from "../../../src/client.ts";
import { PicError } from "../../../src/domain/errors.ts";
import { dataTransfersMax, importBytesMax } from "../../../src/domain/limits.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin/apps";
const strange = ["a/../b", "%2f%00", "a+b c&d=e?f#g", "' or 1=1 --", "ü😀", "\n", "__proto__", "*"];

async function refusal(call: Promise<unknown>): Promise<PicClientError> {
  const error = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof PicClientError) return error;
  throw new Error(`not refused: ${error}`);
}

/** Asks until the answer is there. */
async function until<T>(look: () => Promise<T | null>): Promise<T> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    if (performance.now() > deadline) throw new Error("it never came");
    await Bun.sleep(5);
  }
}

function kvLine(key: string, value: unknown, collection = "c"): string {
  return `${JSON.stringify({ collection, key, value })}\n`;
}

describe("entries", () => {
  test("are written, listed, read and deleted, whatever their names are", async () => {
    await using t = await serve();
    const { kv } = t.client;
    for (const collection of strange) {
      for (const key of strange) {
        const value = { key, empty: [], nul: "\0", half: "\ud800" };
        expect(await kv.set("default", { collection, key, value })).toEqual({ key, version: 1 });
        const entry = await kv.get("default", { collection, key });
        expect([entry.key, entry.value, entry.version, entry.expires_at]).toEqual([
          key,
          value,
          1,
          null,
        ]);
        expect(Date.parse(entry.updated_at)).toBe(t.clock.now());
      }
      const page = await kv.entries("default", { collection, limit: 3 });
      expect(page.items).toHaveLength(3);
      const rest = await kv.entries("default", { collection, cursor: page.next_cursor });
      expect(rest.items).toHaveLength(strange.length - 3);
      expect(rest.next_cursor).toBeNull();
    }
    const { items } = await kv.collections("default");
    expect(items.map(({ name }) => name).toSorted()).toEqual(strange.toSorted());
    for (const collection of strange) {
      for (const key of strange) {
        const gone = { collection, key, if_version: 9 };
        expect((await refusal(kv.delete("default", gone))).code).toBe("kv_version_conflict");
        await kv.delete("default", { collection, key, if_version: 1 });
        expect((await refusal(kv.delete("default", { collection, key }))).status).toBe(404);
      }
    }
    expect((await kv.collections("default")).items).toEqual([]);
  });

  test("are refused with the rule that is broken", async () => {
    await using t = await serve();
    const put = async (body: object) => {
      const url = `${t.publicUrl}${api}/default/kv/entry`;
      const answer = await ask(url, "PUT", { token: t.token, body });
      return [answer.status, answer.json.code];
    };
    const good = { collection: "c", key: "k", value: 1 };
    expect(await put(good)).toEqual([200, undefined]);
    expect(await put({ ...good, key: "" })).toEqual([422, "kv_invalid_key"]);
    expect(await put({ ...good, key: "x".repeat(513) })).toEqual([422, "kv_invalid_key"]);
    expect(await put({ ...good, key: "a\0" })).toEqual([422, "invalid"]);
    expect(await put({ ...good, value: "x".repeat(300_000) })).toEqual([422, "kv_value_too_large"]);
    expect(await put({ collection: "c", key: "k" })).toEqual([422, "invalid"]);
    expect(await put({ ...good, if_version: 7 })).toEqual([409, "kv_version_conflict"]);
    expect(await put({ ...good, if_version: -1 })).toEqual([422, "invalid"]);
    expect(await put({ ...good, ttl_seconds: "5" })).toEqual([422, "invalid"]);
    expect(await put({ ...good, ttl_seconds: -5 })).toEqual([422, "invalid"]);
    for (const query of [
      "",
      "?collection=c",
      "?collection=c&key=",
      "?collection=c&key=k&if_version=x",
    ]) {
      const url = `${t.publicUrl}${api}/default/kv/entry${query}`;
      expect((await ask(url, "DELETE", { token: t.token })).status).toBe(422);
    }
    const cleared = `${t.publicUrl}${api}/default/kv/collection?collection=c`;
    for (const confirm of ["", "&confirm=", "&confirm=C", "&confirm=c%20"]) {
      const answer = await ask(cleared + confirm, "DELETE", { token: t.token });
      expect([confirm, answer.status]).toEqual([confirm, 422]);
    }
    expect((await ask(`${cleared}&confirm=c`, "DELETE", { token: t.token })).json).toEqual({
      count: 1,
      more: false,
    });
  });

  test("of an app are found by its slug and its id, and never from another app", async () => {
    await using t = await serve();
    const mine = await t.client.apps.create({ slug: "mine", name: "Mine" });
    const place = { collection: "c", key: "k" };
    await t.client.kv.set("mine", { ...place, value: "secret" });
    await t.client.docs.insert("mine", { collection: "c", value: { id: "k", text: "secret" } });
    expect((await t.client.kv.get(mine.id, place)).value).toBe("secret");
    for (const app of ["default", "MINE", newId(), mine.id.toUpperCase(), "%2e%2e", "..mine"]) {
      for (const path of [
        "kv",
        "kv/entries?collection=c",
        "kv/entry?collection=c&key=k",
        "kv/export",
        "docs",
        "docs/document?collection=c&id=k",
        "docs/indexes?collection=c",
        "docs/export",
      ]) {
        const answer = await ask(`${t.publicUrl}${api}/${app}/${path}`, "GET", { token: t.token });
        expect([app, path, answer.text.includes("secret")]).toEqual([app, path, false]);
        if (app !== "default") expect([app, path, answer.status]).toEqual([app, path, 404]);
      }
    }
  });
});

describe("documents", () => {
  test("are made, found, changed and deleted", async () => {
    await using t = await serve();
    const { docs } = t.client;
    const made = await docs.insert("default", { collection: "o/x", value: { n: 1, list: [] } });
    expect(made.version).toBe(1);
    for (const id of strange) {
      await docs.insert("default", { collection: "o/x", value: { id, n: 2 } });
      expect((await docs.get("default", { collection: "o/x", id })).value).toEqual({ id, n: 2 });
    }
    const again = docs.insert("default", { collection: "o/x", value: { id: "*" } });
    expect((await refusal(again)).code).toBe("docs_exists");
    const found: string[] = [];
    let cursor: string | null = null;
    do {
      const query = { collection: "o/x", where: { n: 2 }, sort: { id: -1 }, limit: 3 };
      const page: Awaited<ReturnType<typeof docs.find>> = await docs.find("default", {
        ...query,
        ...(cursor === null ? {} : { cursor }),
      });
      expect(page.items.every(({ value, version }) => value.n === 2 && version === 1)).toBe(true);
      found.push(...page.items.map(({ id }) => id));
      cursor = page.next_cursor;
    } while (cursor !== null);
    expect(found.toSorted()).toEqual(strange.toSorted());
    const place = { collection: "o/x", id: made.id };
    const patch = { n: null, deep: { list: [] } };
    expect((await docs.patch("default", { ...place, patch, if_version: 1 })).version).toBe(2);
    expect((await docs.get("default", place)).value).toEqual({
      id: made.id,
      list: [],
      deep: { list: [] },
    });
    const stale = docs.replace("default", { ...place, value: {}, if_version: 1 });
    const conflict = await refusal(stale);
    expect([conflict.code, conflict.problem?.version]).toEqual(["docs_version_conflict", 2]);
    await docs.replace("default", { ...place, value: { n: 5 }, if_version: 2 });
    expect(await docs.count("default", { collection: "o/x", where: { n: { $gte: 2 } } })).toEqual({
      count: strange.length + 1,
    });
    await docs.delete("default", { ...place, if_version: 3 });
    expect((await refusal(docs.get("default", place))).code).toBe("docs_not_found");
    expect((await refusal(docs.delete("default", place))).code).toBe("docs_not_found");
    const nowhere = docs.replace("default", { ...place, value: {} });
    expect((await refusal(nowhere)).code).toBe("docs_not_found");
    expect(await docs.clear("default", { collection: "o/x", confirm: "o/x" })).toEqual({
      count: strange.length,
      more: false,
    });
  });

  test("have indexes, which explain names", async () => {
    await using t = await serve();
    const { docs } = t.client;
    for (let n = 0; n < 20; n += 1) await docs.insert("default", { collection: "c", value: { n } });
    const query = { collection: "c", where: { n: 3 } };
    expect((await docs.explain("default", query)).scan).toBe(true);
    const index = { collection: "c", field: "n" };
    expect((await docs.createIndex("default", index)).field).toBe("n");
    const ready = await until(async () => {
      const { items } = await docs.indexes("default", "c");
      return items[0]?.state === "ready" ? items : null;
    });
    expect(ready.map(({ field }) => field)).toEqual(["n"]);
    const explained = await docs.explain("default", query);
    expect([explained.index, explained.serves, explained.scan]).toEqual(["n", ["where"], false]);
    await docs.dropIndex("default", index);
    expect((await refusal(docs.dropIndex("default", index))).status).toBe(404);
    expect((await refusal(docs.createIndex("default", { ...index, field: "$x" }))).status).toBe(
      422,
    );
  });

  test("are refused with the rule that is broken", async () => {
    await using t = await serve();
    const { docs } = t.client;
    const insert = async (value: unknown, collection = "c") =>
      (await refusal(docs.insert("default", { collection, value }))).code;
    expect(await insert([])).toBe("docs_invalid_value");
    expect(await insert(null)).toBe("docs_invalid_value");
    expect(await insert({ id: 5 })).toBe("docs_invalid_id");
    expect(await insert({ id: "a\0b" })).toBe("docs_invalid_id");
    expect(await insert({}, "")).toBe("docs_invalid_id");
    expect(await insert({ text: "x".repeat(300_000) })).toBe("docs_value_too_large");
    const find = async (query: object) =>
      (await refusal(docs.find("default", { collection: "c", ...query }))).code;
    expect(await find({ where: { $where: "1" } })).toBe("docs_invalid_query");
    expect(await find({ where: [] })).toBe("docs_invalid_query");
    expect(await find({ limit: 0 })).toBe("invalid");
    expect(await find({ limit: 1.5 })).toBe("invalid");
    expect(await find({ cursor: "x" })).toBe("docs_invalid_query");
  });
});

describe("an export", () => {
  test("is JSON Lines under a name of its own, for GET alone", async () => {
    await using t = await serve();
    await t.client.kv.set("default", { collection: "orders", key: "k", value: 1 });
    const names: string[] = [];
    for (const query of ["", "?collection=orders", "?collection=a%2Fb%22%0Ax", "?collection=.."]) {
      const url = `${t.publicUrl}${api}/default/kv/export${query}`;
      const answer = await ask(url, "GET", { token: t.token });
      expect([answer.status, answer.headers.get("content-type")]).toEqual([
        200,
        "application/x-ndjson",
      ]);
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
      names.push(answer.headers.get("content-disposition") ?? "");
    }
    expect(names).toEqual([
      'attachment; filename="default-kv.jsonl"',
      'attachment; filename="default-kv-orders.jsonl"',
      'attachment; filename="default-kv.jsonl"',
      'attachment; filename="default-kv.jsonl"',
    ]);
    for (let count = 0; count <= dataTransfersMax; count += 1) {
      const url = `${t.publicUrl}${api}/default/docs/export`;
      const head = await ask(url, "HEAD", { token: t.token });
      expect([head.status, head.text]).toEqual([200, ""]);
    }
    const wrong = await ask(`${t.publicUrl}${api}/default/kv/export`, "POST", { token: t.token });
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  test("waits for a reader who is slow, and holds nothing of the rest", async () => {
    await using t = await serve();
    const value = "x".repeat(30_000);
    const lines = Array.from({ length: 1_500 }, (_, index) => kvLine(`k${index}`, value));
    await t.client.kv.import("default", lines.join(""));
    let scans = 0;
    const scan = t.db.scan.bind(t.db);
    t.db.scan = ((...args: Parameters<typeof scan>) => {
      scans += 1;
      return scan(...args);
    }) as typeof t.db.scan;
    const response = await t.client.kv.export("default");
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let bytes = (await reader.read()).value?.byteLength ?? 0;
    // What goes on goes into buffers of the network, and then stands still.
    let still = 0;
    for (let last = scans; still < 30; still = scans === last ? still + 1 : 0) {
      last = scans;
      await Bun.sleep(5);
    }
    expect(scans).toBeLessThan(22);
    for (;;) {
      const { done, value: chunk } = await reader.read();
      if (done) break;
      bytes += chunk.byteLength;
    }
    expect(bytes).toBe(Buffer.byteLength(lines.join("")));
    expect(scans).toBeGreaterThanOrEqual(30);
  }, 30_000);

  test("that fails at once is a problem; in the middle it is cut, and logged", async () => {
    const logged: string[] = [];
    const log: Logger = { ...silentLogger, error: (text) => logged.push(text) };
    await using t = await serve({ log });
    const lines = Array.from({ length: 300 }, (_, index) => kvLine(`k${index}`, "x".repeat(5_000)));
    await t.client.kv.import("default", lines.join(""));
    const scan = t.db.scan.bind(t.db);
    let left = 0;
    t.db.scan = ((...args: Parameters<typeof scan>) => {
      left -= 1;
      if (left < 0) return Promise.reject(new PicError("unavailable", "The disk is full."));
      return scan(...args);
    }) as typeof t.db.scan;
    const first = await refusal(t.client.kv.export("default"));
    expect([first.status, first.code]).toEqual([503, "unavailable"]);
    expect(logged).toEqual([]);
    left = 3;
    const cut = await t.client.kv.export("default");
    expect(cut.status).toBe(200);
    await expect(cut.text()).rejects.toThrow();
    expect(logged).toEqual(["An export was cut off"]);
    left = 1_000;
    expect((await (await t.client.kv.export("default")).text()).length).toBe(lines.join("").length);
  });

  test("gives its place back when its caller leaves", async () => {
    await using t = await serve();
    const lines = Array.from({ length: 1_000 }, (_, index) =>
      kvLine(`k${index}`, "x".repeat(30_000)),
    );
    await t.client.kv.import("default", lines.join(""));
    const url = `${t.publicUrl}${api}/default/kv/export`;
    const headers = { authorization: `Bearer ${t.token}` };
    for (let round = 0; round < 2; round += 1) {
      const leaving = new AbortController();
      const asked = Array.from({ length: dataTransfersMax }, () =>
        fetch(url, { headers, signal: leaving.signal }),
      );
      for (const response of await Promise.all(asked)) expect(response.status).toBe(200);
      const refused = await ask(url, "GET", { token: t.token });
      expect([refused.status, refused.json.code]).toEqual([503, "overloaded"]);
      expect(refused.headers.get("retry-after")).not.toBeNull();
      leaving.abort();
      await until(async () => {
        const response = await fetch(url, { headers });
        const text = await response.text();
        return response.status === 200 ? text : null;
      });
    }
  }, 30_000);
});

describe("an import", () => {
  test("takes what an export gave, of either kind, also by the cookie of a page of ours", async () => {
    await using t = await serve();
    const text = kvLine("ü", { a: [] }) + kvLine("k", null, "d");
    for (const type of ["application/x-ndjson", "text/plain", "Text/Plain; charset=UTF-8"]) {
      const answer = await ask(`${t.adminUrl}${api}/default/kv/import?mode=merge`, "POST", {
        headers: {
          cookie: `picloud_session=${t.token}`,
          origin: t.adminUrl,
          "content-type": type,
        },
        body: text,
      });
      expect([type, answer.status]).toEqual([type, 200]);
    }
    expect(await (await t.client.kv.export("default")).text()).toBe(text);
    const counts = await t.client.docs.import("default", '{"value":{"id":"a"}}', {
      collection: "c",
    });
    expect(counts).toEqual({ imported: 1, updated: 0, skipped: 0 });
    const dry = await t.client.docs.import("default", '{"value":{"id":"b"}}', {
      collection: "c",
      dry_run: true,
    });
    expect(dry).toEqual({ imported: 1, updated: 0, skipped: 0 });
    expect(await t.client.docs.count("default", { collection: "c" })).toEqual({ count: 1 });
  });

  test("names the bad line in a problem, with what was done before it", async () => {
    await using t = await serve();
    const text = `${kvLine("a", 1)}${kvLine("b", 1)}{"key":"c"}\n${kvLine("d", 1)}`;
    const { status, problem } = await refusal(t.client.kv.import("default", text));
    expect([status, problem?.code, problem?.line]).toEqual([422, "kv_invalid_key", 3]);
    expect([problem?.imported, problem?.updated, problem?.skipped]).toEqual([2, 0, 0]);
    expect(problem?.errors?.[0]?.line).toBe(3);
    const { problem: again } = await refusal(t.client.kv.import("default", text));
    expect([again?.code, again?.line, again?.imported]).toEqual(["conflict", 1, 0]);
  });

  test("refuses other types and other words", async () => {
    await using t = await serve();
    const send = async (query: string, type: string | null) => {
      const headers: Record<string, string> = { "content-type": type ?? "" };
      const url = `${t.publicUrl}${api}/default/kv/import${query}`;
      return (await ask(url, "POST", { token: t.token, headers, body: "" })).status;
    };
    for (const type of ["application/json", "text/html", "text/plain; charset=latin1", "", "x"]) {
      expect([type, await send("", type)]).toEqual([type, 415]);
    }
    for (const query of ["?mode=replace", "?dry_run=yes", "?emit=1", "?collection=", "?x=1"]) {
      expect([query, await send(query, "text/plain")]).toEqual([query, 422]);
    }
  });

  test("that says it is too long is refused before a byte of it is read", async () => {
    await using t = await serve();
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const socket = connect(Number(new URL(t.publicUrl).port), "127.0.0.1", () => {
      socket.write(
        `POST ${api}/default/kv/import HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${t.token}\r\n` +
          `content-type: text/plain\r\ncontent-length: ${importBytesMax + 1}\r\n\r\n`,
      );
    });
    socket.once("data", (data) => resolve(data.toString()));
    socket.once("error", reject);
    expect(await promise).toStartWith("HTTP/1.1 413 ");
    socket.destroy();
  });

  test("whose caller leaves keeps whole batches, and gives its place back", async () => {
    await using t = await serve();
    const lines = Array.from({ length: 250 }, (_, index) => kvLine(`k${1_000 + index}`, index));
    for (let count = 0; count < dataTransfersMax; count += 1) {
      const leaving = new AbortController();
      const sent = fetch(`${t.publicUrl}${api}/default/kv/import?mode=merge`, {
        method: "POST",
        headers: { authorization: `Bearer ${t.token}`, "content-type": "application/x-ndjson" },
        body: new ReadableStream<Uint8Array>({
          start: (controller) => controller.enqueue(Buffer.from(lines.join(""))),
        }),
        signal: leaving.signal,
      });
      await until(async () => {
        const { items } = await t.client.kv.collections("default");
        return items[0]?.records === 200 ? items : null;
      });
      leaving.abort();
      await sent.catch(() => {});
    }
    const rest = await until(() =>
      t.client.kv.import("default", lines.join(""), { mode: "merge" }).catch(() => null),
    );
    expect(rest).toEqual({ imported: 50, updated: 0, skipped: 200 });
  });
});
