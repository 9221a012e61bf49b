/** The contract that scripts are written against: what changes here changes SDK_VERSION. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SDK_VERSION, sdkDeclarations } from "../../src/sdk/declarations.ts";
import { evaluate, inGuest } from "./guest-setup.ts";

const TSC = join(import.meta.dir, "../../node_modules/.bin/tsc");

test("the version is the one that was promised", () => {
  expect(SDK_VERSION).toBe("1.0");
});

test("the declarations are the ones that were promised", async () => {
  const golden = await Bun.file(join(import.meta.dir, "picloud.d.ts.golden")).text();
  expect(sdkDeclarations()).toBe(golden);
});

test("the module exports these names, with functions of these arities", async () => {
  const shape =
    await inGuest(`const shape = (o) => Object.fromEntries(Object.keys(o).map((k) => [k, typeof o[k] === "function" ? o[k].length : typeof o[k]]));
    return { module: Object.keys(picloud), log: shape(log), kv: shape(kv), collection: shape(kv.collection("c")), docs: shape(picloud.docs), documents: shape(picloud.docs.collection("c")), base64: shape(base64), hex: shape(hex) }`);
  expect(shape).toEqual({
    module: ["base64", "docs", "hex", "kv", "log", "tx"],
    log: { debug: 2, info: 2, warn: 2, error: 2 },
    kv: { collection: 1 },
    collection: {
      get: 1,
      getEntry: 1,
      getMany: 1,
      set: 2,
      delete: 1,
      has: 1,
      increment: 1,
      list: 0,
    },
    docs: { collection: 1 },
    documents: {
      insert: 1,
      get: 1,
      getEntry: 1,
      replace: 2,
      patch: 2,
      delete: 1,
      find: 0,
      findOne: 0,
      count: 0,
      createIndex: 1,
      dropIndex: 1,
      indexes: 0,
      explain: 0,
    },
    base64: { encode: 2, decode: 1 },
    hex: { encode: 1, decode: 1 },
  });
});

test("the globals beside the language's own are these", async () => {
  const language = new Set(["escape", "unescape"]);
  const names = (await evaluate("Object.getOwnPropertyNames(globalThis)")) as string[];
  const own = names.filter((name) => !LANGUAGE.includes(name) && !language.has(name)).sort();
  expect(own).toEqual([
    "DOMException",
    "TextDecoder",
    "TextEncoder",
    "URL",
    "URLSearchParams",
    "atob",
    "btoa",
    "clearTimeout",
    "console",
    "crypto",
    "queueMicrotask",
    "setTimeout",
    "structuredClone",
  ]);
  expect(await evaluate("Object.keys(globalThis)")).toEqual([]);
});

const LANGUAGE =
  "AggregateError Array ArrayBuffer BigInt BigInt64Array BigUint64Array Boolean DataView Date Error EvalError FinalizationRegistry Float16Array Float32Array Float64Array Function Infinity Int16Array Int32Array Int8Array InternalError Iterator JSON Map Math NaN Number Object Promise Proxy RangeError ReferenceError Reflect RegExp Set SharedArrayBuffer String Symbol SyntaxError TypeError URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakRef WeakSet decodeURI decodeURIComponent encodeURI encodeURIComponent eval globalThis isFinite isNaN parseFloat parseInt undefined".split(
    " ",
  );

describe("with the declarations, TypeScript", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "picloud-types-"));
    writeFileSync(join(folder, "picloud.d.ts"), sdkDeclarations());
    const compilerOptions = {
      strict: true,
      noEmit: true,
      lib: ["ESNext"],
      types: [],
      target: "ESNext",
      module: "ESNext",
      moduleResolution: "bundler",
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const check = (source: string): string => {
    writeFileSync(join(folder, "script.ts"), source);
    return Bun.spawnSync([TSC, "-p", folder], { stdout: "pipe" }).stdout.toString();
  };

  test("accepts transactions, and knows what they resolve to", () => {
    const source = `
      import { tx, type Tx } from "picloud";
      const move = async (t: Tx, from: string): Promise<number> => {
        const money = t.kv.collection<number>("money");
        await money.set("to", (await money.get("to")) ?? 0, { ttl: 60 });
        if (await money.has(from)) await money.delete(from);
        return money.increment(from, -1, { ttl: 5 });
      };
      export default async function () {
        const sum: number = await tx((t) => move(t, "me"));
        const orders = await tx(async (t) => {
          const c = t.docs.collection<{ n: number }>("orders");
          const { id } = await c.insert({ n: sum });
          await c.patch(id, { n: 2 });
          const kept: { n: number; id: string } = await c.replace(id, { n: 3 });
          return [kept, await c.get("x"), await c.delete("y")] as const;
        });
        return orders[0].n;
      }`;
    expect(check(source)).toBe("");
    const wrong = check(`
      import { tx } from "picloud";
      tx(5);
      tx((t) => t.kv.collection("c").list());
      tx((t) => t.docs.collection("c").find({}));`);
    expect(wrong.split("\n").filter((line) => line.includes("error TS")).length).toBe(3);
  });

  test("accepts a script that uses everything", () => {
    const source = `
      import { base64, hex, kv, log, type Context, type Handler, type KvPage, type Response } from "picloud";
      export default async function (ctx: Context): Promise<Response> {
        const hits = kv.collection<number>("hits");
        const n: number = await hits.increment(ctx.request.params.name ?? "x", 2);
        const page: KvPage<number> = await hits.list({ prefix: "a", limit: 5, cursor: null });
        const entry = await hits.getEntry("k");
        const version: number | undefined = entry?.version;
        log.info("hit", { n, version, next: page.nextCursor, id: ctx.executionId });
        console.log(new URL("/x", "http://h").searchParams.get("x"), URL.canParse("a"));
        for (const [name, value] of new URLSearchParams({ a: "b" })) console.debug(name, value);
        const digest: ArrayBuffer = await crypto.subtle.digest("SHA-256", new TextEncoder().encode("a"));
        const text: string = hex.encode(digest) + base64.encode("a", { url: true }) + atob(btoa("a")) + crypto.randomUUID();
        const random: Uint8Array = crypto.getRandomValues(new Uint8Array(4));
        const timer: number = setTimeout((a: string) => console.log(a), 5, "x");
        clearTimeout(timer);
        queueMicrotask(() => {});
        const copy: { a: number } = structuredClone({ a: 1 });
        if (ctx.event?.source === "kv") throw new DOMException("m", "n");
        const decoded: string = new TextDecoder("utf-8", { fatal: true }).decode(random, { stream: true });
        return { statusCode: 200, headers: { "x-a": "b", "x-n": 5 }, body: { n, text, copy, decoded, host: ctx.request.host } };
      }
      export const other: Handler = (ctx) => ctx.request.body.anything;`;
    expect(check(source)).toBe("");
  });

  test("knows what an event carries once its source is known", () => {
    const source = `
      import { kv, log, type Context, type Event } from "picloud";
      const brief = (event: Event): string => {
        switch (event.source) {
          case "kv":
          case "docs":
            return event.type === "delete" ? event.key : event.collection + JSON.stringify(event.value ?? event.previous);
          case "cron":
            return event.cron.tick + event.cron.timezone + event.cron.ticks.toFixed(0) + event.cron.expression;
          case "dead_letter":
            return event.deadLetter.error.message + event.deadLetter.attempts.toFixed(0) + String(event.deadLetter.event.key);
          default:
            return "";
        }
      };
      export default async (ctx: Context) => {
        if (ctx.event?.source === "kv") {
          const type: "insert" | "update" | "delete" = ctx.event.type;
          await kv.collection("seen").set(ctx.event.id, { type, key: ctx.event.key, attempt: ctx.event.attempt });
        }
        if (ctx.event !== undefined) log.info(brief(ctx.event), { depth: ctx.event.depth, at: ctx.event.at });
      };`;
    expect(check(source)).toBe("");
    const problems = check(`
      import type { Context } from "picloud";
      export default (ctx: Context) => {
        if (ctx.event?.source === "cron") return ctx.event.collection;
        if (ctx.event?.source === "kv") return ctx.event.cron;
        return ctx.event.key;
      };`);
    expect(problems.split("\n").filter((line) => line.includes("error TS")).length).toBeGreaterThan(
      2,
    );
  });

  test("refuses what is wrong, and knows nothing of a browser or a server", () => {
    const problems = check(`
      import { kv } from "picloud";
      kv.collection("c").get(5);
      log.info("x");
      document.title; process.exit(); require("fs");
      setTimeout("code");`);
    expect(problems.split("\n").filter((line) => line.includes("error TS")).length).toBe(6);
  });
});
