import { expect, test } from "bun:test";
import type { DataSource } from "../../src/domain/data.ts";
import { PicError } from "../../src/domain/errors.ts";
import { dataBatchRows, dataTransfersMax, importLineBytesMax } from "../../src/domain/limits.ts";
import type { ImportOptions } from "../../src/services/data-transfer.ts";
import {
  addTrigger,
  by,
  type DataTest,
  events,
  onEachEngine,
  pieces,
  textOf,
} from "./data-setup.ts";
import { codeOf } from "./fakes.ts";

const defaults: ImportOptions = { mode: "fail", collection: null, dry_run: false, emit: false };

function importInto(
  t: DataTest,
  source: DataSource,
  chunks: AsyncIterable<Uint8Array>,
  options: Partial<ImportOptions> & { app?: string } = {},
) {
  const { app = "one", ...rest } = options;
  return t.transfer.import(by("r"), app, source, { chunks, ...defaults, ...rest });
}

async function exportOf(
  t: DataTest,
  source: DataSource,
  { app = "one", collection = null }: { app?: string; collection?: string | null } = {},
): Promise<string> {
  return textOf((await t.transfer.export(by("r"), app, source, collection)).chunks);
}

/** What an import fails with: its code, the line, and what was done before it. */
async function failureOf(work: Promise<unknown>) {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof PicError)) throw new Error(`no PicError but ${error}`);
  const { line, imported, updated, skipped } = error.details.extra ?? {};
  return { code: error.code, message: error.message, line, done: [imported, updated, skipped] };
}

function line(record: object): string {
  return `${JSON.stringify(record)}\n`;
}

const strange = [
  "a/../b",
  "%2f%00",
  "' or 1=1 --",
  "ü😀",
  "\n\r\u2028",
  "__proto__",
  "\ufeff",
  "\\",
];

onEachEngine("imports and exports", (open) => {
  test("what was exported is imported as the same: names, values, expiry", async () => {
    const t = await open();
    const values = [null, 0, -0.5, 1e21, "", "\0\ud800\u2028", [], {}, [[[]]], { "": { a: [] } }];
    for (const [at, collection] of strange.entries()) {
      for (const key of strange) {
        const ttl_seconds = at % 2 === 0 ? 60 + at : null;
        const value = values[at % values.length];
        await t.kv.set(by("r"), "one", { collection, key, value, ttl_seconds });
        const document = { id: key, value, ["__proto__"]: 1, nested: { list: [null, value] } };
        await t.docs.insert(by("r"), "one", { collection, value: document });
      }
    }
    for (const source of ["kv", "docs"] as const) {
      const text = await exportOf(t, source);
      expect(text.split("\n")).toHaveLength(strange.length ** 2 + 1);
      // Pieces that cut lines and characters apart.
      const bytes = Buffer.from(text);
      const chunks = pieces(...Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)));
      const counts = await importInto(t, source, chunks, { app: "two" });
      expect(counts).toEqual({ imported: strange.length ** 2, updated: 0, skipped: 0 });
      expect(await exportOf(t, source, { app: "two" })).toBe(text);
      const one = await exportOf(t, source, { collection: "ü😀" });
      expect(one).not.toBe("");
      expect(text).toContain(one);
    }
  });

  test("10,000 entries with large ones among them come back as they were", async () => {
    const t = await open();
    const lines: string[] = [];
    for (let index = 0; index < 10_000; index += 1) {
      const value = index % 1_000 === 0 ? "ü".repeat(120_000) : { index, half: index / 2 };
      lines.push(line({ collection: "c", key: `k${String(index).padStart(5, "0")}`, value }));
    }
    const text = lines.join("");
    const bytes = Buffer.from(text);
    const chunks = function* () {
      for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
    };
    const counts = await importInto(t, "kv", pieces(...chunks()));
    expect(counts).toEqual({ imported: 10_000, updated: 0, skipped: 0 });
    expect((await exportOf(t, "kv")) === text).toBe(true);
    expect(await importInto(t, "kv", pieces(text), { mode: "merge" })).toEqual({
      imported: 0,
      updated: 0,
      skipped: 10_000,
    });
    const { version } = await t.kv.get("one", { collection: "c", key: "k00001" });
    expect(version).toBe(1);
  }, 60_000);

  test("modes: fail stops, skip leaves, merge writes over what differs", async () => {
    const t = await open();
    for (const source of ["kv", "docs"] as const) {
      const name = source === "kv" ? "key" : "id";
      const record = (id: string, n: number) =>
        line({ collection: "c", [name]: id, value: { id, n } });
      const first = record("a", 1) + record("b", 1);
      expect(await importInto(t, source, pieces(first))).toEqual({
        imported: 2,
        updated: 0,
        skipped: 0,
      });
      const second = record("0", 2) + record("a", 1) + record("b", 2) + record("c", 2);
      expect(await failureOf(importInto(t, source, pieces(second)))).toEqual({
        code: "conflict",
        message: "Line 2: There is such a record already",
        line: 2,
        done: [1, 0, 0],
      });
      const skip = await importInto(t, source, pieces(second), { mode: "skip" });
      expect(skip).toEqual({ imported: 1, updated: 0, skipped: 3 });
      const merge = await importInto(t, source, pieces(second), { mode: "merge" });
      expect(merge).toEqual({ imported: 0, updated: 1, skipped: 3 });
      const all = record("0", 2) + record("a", 1) + record("b", 2) + record("c", 2);
      expect(await exportOf(t, source)).toBe(all);
    }
  });

  test("a collection that is given takes everything", async () => {
    const t = await open();
    const text = line({ collection: "x", key: "1", value: 1 }) + line({ key: "2", value: 2 });
    expect(await failureOf(importInto(t, "kv", pieces(text)))).toMatchObject({
      code: "kv_invalid_key",
      line: 2,
      done: [1, 0, 0],
    });
    await importInto(t, "kv", pieces(text), { collection: "y" });
    const wanted =
      line({ collection: "x", key: "1", value: 1 }) +
      line({ collection: "y", key: "1", value: 1 }) +
      line({ collection: "y", key: "2", value: 2 });
    expect(await exportOf(t, "kv")).toBe(wanted);
    const bad = importInto(t, "kv", pieces(text), { collection: "" });
    expect(await codeOf(bad)).toBe("kv_invalid_key");
    expect(await codeOf(t.transfer.export(by("r"), "one", "docs", "a\0b"))).toBe("docs_invalid_id");
    expect(await codeOf(t.transfer.export(by("r"), "three", "kv", null))).toBe("not_found");
  });

  test("a bad line is named with its rule, and all before it is imported", async () => {
    const t = await open();
    const good = (count: number, from = 0): string =>
      Array.from({ length: count }, (_, index) =>
        line({ collection: "c", key: `k${from + index}`, value: 1 }),
      ).join("");
    const bad: [string, string, string][] = [
      ["nonsense", "invalid", "it is not JSON"],
      ["[1]", "invalid", "it is not a JSON object"],
      ["null", "invalid", "it is not a JSON object"],
      ["[".repeat(100_000), "invalid", "it is not JSON"],
      ['{"collection":"c","key":"k","value":1} {}', "invalid", "it is not JSON"],
      ['{"collection":"c","id":"k","value":1}', "invalid", "it has a member that is none of"],
      ['{"collection":"c","key":"k"}', "kv_invalid_value", "The value is undefined"],
      ['{"collection":"c","key":5,"value":1}', "kv_invalid_key", "The key must be a string"],
      ['{"collection":"c","key":"","value":1}', "kv_invalid_key", "The key must not be empty"],
      ['{"collection":"c","key":"\\u0000","value":1}', "kv_invalid_key", "NUL"],
      ['{"collection":"c","key":"\\ud800","value":1}', "kv_invalid_key", "surrogate"],
      ['{"collection":["c"],"key":"k","value":1}', "kv_invalid_key", "must be a string"],
      ['{"collection":"c","key":"k","value":1,"expires_at":5}', "invalid", "ISO 8601"],
      ['{"collection":"c","key":"k","value":1,"expires_at":"tomorrow"}', "invalid", "ISO 8601"],
      [
        '{"collection":"c","key":"k","value":1,"expires_at":"9999-01-01T00:00:00Z"}',
        "invalid",
        "within",
      ],
      [
        line({ collection: "c", key: "k", value: "x".repeat(262_143) }),
        "kv_value_too_large",
        "262144",
      ],
      [`{"key":"${"x".repeat(importLineBytesMax)}"}`, "invalid", "it is longer than"],
    ];
    let from = 0;
    for (const [text, code, rule] of bad) {
      const count = dataBatchRows + 3;
      const sent = `${good(count, from)}\n${text}\n${good(5, from + 1_000)}`;
      const failure = await failureOf(importInto(t, "kv", pieces(sent)));
      expect([text.slice(0, 60), failure.code]).toEqual([text.slice(0, 60), code]);
      expect(failure.message).toStartWith(`Line ${count + 2}: `);
      expect(failure.message).toContain(rule);
      expect(failure.message.length).toBeLessThan(200);
      expect([failure.line, failure.done]).toEqual([count + 2, [count, 0, 0]]);
      from += 2_000;
    }
    const noText = pieces(good(1, from), new Uint8Array([0x7b, 0xff, 0x7d, 0x0a]));
    expect(await failureOf(importInto(t, "kv", noText))).toMatchObject({
      message: "Line 2: it is not UTF-8",
      done: [1, 0, 0],
    });
    const endless = async function* () {
      for (;;) yield Buffer.alloc(65_536, 0x20);
    };
    expect(await failureOf(importInto(t, "kv", endless()))).toMatchObject({ line: 1 });
  });

  test("bad documents are refused as a script's are", async () => {
    const t = await open();
    const deep = `{"collection":"c","id":"d","value":{"a":${"[".repeat(200)}${"]".repeat(200)}}}`;
    const bad: [string, string][] = [
      ['{"collection":"c","id":"d","value":[]}', "docs_invalid_value"],
      ['{"collection":"c","id":"d","value":null}', "docs_invalid_value"],
      ['{"collection":"c","id":"d"}', "docs_invalid_value"],
      ['{"collection":"c","value":{}}', "docs_invalid_id"],
      ['{"collection":"c","id":"d","value":{"id":"e"}}', "docs_invalid_id"],
      ['{"collection":"c","key":"d","value":{}}', "invalid"],
      [deep, "docs_invalid_value"],
      [
        `{"collection":"c","id":"d","value":{"a":"${"x".repeat(262_144)}"}}`,
        "docs_value_too_large",
      ],
    ];
    for (const [text, code] of bad) {
      const failure = await failureOf(importInto(t, "docs", pieces(text)));
      expect([text.slice(0, 60), failure.code, failure.line]).toEqual([text.slice(0, 60), code, 1]);
    }
    await importInto(t, "docs", pieces('{"collection":"c","value":{"n":1,"id":"d"}}'));
    expect((await t.docs.get("one", { collection: "c", id: "d" })).value).toBe('{"n":1,"id":"d"}');
  });

  test("a last line without its end counts, empty lines and CRLF do not matter", async () => {
    const t = await open();
    const text =
      '\n\r\n{"collection":"c","key":"1","value":1}\r\n\n{"collection":"c","key":"2","value":2}';
    expect((await importInto(t, "kv", pieces(text))).imported).toBe(2);
    expect((await importInto(t, "kv", pieces())).imported).toBe(0);
    expect((await importInto(t, "kv", pieces("", "\n", "   ".trim()))).imported).toBe(0);
  });

  test("a body of nothing but empty lines leaves the event loop its turns", async () => {
    const t = await open();
    let isDone = false;
    const done = importInto(t, "kv", pieces("\n".repeat(500_000))).finally(() => {
      isDone = true;
    });
    let turns = 0;
    while (!isDone) {
      await new Promise((resolve) => setImmediate(resolve));
      turns += 1;
    }
    expect((await done).imported).toBe(0);
    expect(turns).toBeGreaterThan(50);
  });

  test("a dry run finds what is wrong and writes nothing", async () => {
    const t = await open();
    const text =
      line({ collection: "c", key: "1", value: 1 }) + line({ collection: "c", key: "2", value: 2 });
    const dry = { dry_run: true };
    expect((await importInto(t, "kv", pieces(text), dry)).imported).toBe(2);
    expect(await exportOf(t, "kv")).toBe("");
    expect((await failureOf(importInto(t, "kv", pieces(`${text}x`), dry))).line).toBe(3);
    await t.kv.set(by("r"), "one", { collection: "c", key: "2", value: 3 });
    expect(await failureOf(importInto(t, "kv", pieces(text), dry))).toMatchObject({
      code: "conflict",
      line: 2,
      done: [1, 0, 0],
    });
    const merge = await importInto(t, "kv", pieces(text), { ...dry, mode: "merge" });
    expect(merge).toEqual({ imported: 1, updated: 1, skipped: 0 });
    expect(await exportOf(t, "kv")).toBe(line({ collection: "c", key: "2", value: 3 }));
  });

  test("of two lines with one name in a file the last one stays, and fail finds it", async () => {
    const t = await open();
    const text = [1, 2, 2].map((n) => line({ collection: "c", key: "k", value: n })).join("");
    expect(await importInto(t, "kv", pieces(text), { mode: "merge" })).toEqual({
      imported: 1,
      updated: 1,
      skipped: 1,
    });
    const other = [1, 2].map((n) => line({ collection: "d", key: "k", value: n })).join("");
    expect(await failureOf(importInto(t, "kv", pieces(other)))).toMatchObject({
      code: "conflict",
      line: 2,
      done: [1, 0, 0],
    });
    expect((await t.kv.get("one", { collection: "c", key: "k" })).value).toBe("2");
  });

  test("no handler is started unless it is asked for", async () => {
    const t = await open();
    await addTrigger(t.db, "kv");
    await addTrigger(t.db, "docs");
    const text = (from: number) => line({ collection: "c", key: `k${from}`, value: 1 });
    await importInto(t, "kv", pieces(text(1)));
    expect(await events(t.db)).toEqual([]);
    await importInto(t, "kv", pieces(text(1) + text(2)), { mode: "merge", emit: true });
    expect(await events(t.db)).toEqual(["insert k2 0 r"]);
    const document = (n: number) => line({ collection: "c", id: "d", value: { n } });
    await importInto(t, "docs", pieces(document(1)));
    await importInto(t, "docs", pieces(document(2)), { mode: "merge", emit: true });
    expect(await events(t.db)).toEqual(["insert k2 0 r", "update d 0 r"]);
  });

  test("an entry whose time has come is skipped", async () => {
    const t = await open();
    const text = (expires_at: string, key: string) =>
      line({ collection: "c", key, value: 1, expires_at });
    const chunks = pieces(
      text("2029-12-31T23:59:59Z", "old") + text("2030-01-01T01:00:00+00:30", "new"),
    );
    expect(await importInto(t, "kv", chunks)).toEqual({ imported: 1, updated: 0, skipped: 1 });
    expect(await exportOf(t, "kv")).toBe(text("2030-01-01T00:30:00.000Z", "new"));
    t.clock.pass(1_800_000);
    expect(await exportOf(t, "kv")).toBe("");
  });

  test("a caller who leaves keeps whole batches", async () => {
    const t = await open();
    const lines = Array.from({ length: dataBatchRows * 2 + 50 }, (_, index) =>
      line({ collection: "c", key: `k${String(index).padStart(4, "0")}`, value: 1 }),
    ).join("");
    const leaving = async function* () {
      yield Buffer.from(lines);
      throw new PicError("malformed_request", "The body could not be read");
    };
    expect(await failureOf(importInto(t, "kv", leaving()))).toMatchObject({
      code: "malformed_request",
      done: [dataBatchRows * 2, 0, 0],
    });
    expect((await exportOf(t, "kv")).split("\n")).toHaveLength(dataBatchRows * 2 + 1);
  });

  test("what a quota refuses is a line, and what stands before it is imported", async () => {
    const t = await open({ rows: 40 });
    const text = Array.from({ length: 80 }, (_, index) =>
      line({ collection: "c", key: `k${String(index).padStart(4, "0")}`, value: 1 }),
    ).join("");
    const failure = await failureOf(importInto(t, "kv", pieces(text)));
    expect(failure.code).toBe("quota_exceeded");
    const [imported] = failure.done as number[];
    expect(failure.line).toBe((imported as number) + 1);
    expect(imported).toBeWithin(1, 41);
    expect((await exportOf(t, "kv")).split("\n")).toHaveLength((imported as number) + 1);
  });

  test("two at once, a second click, end with each record once", async () => {
    const t = await open();
    for (const source of ["kv", "docs"] as const) {
      const name = source === "kv" ? "key" : "id";
      // In opposite orders: each holds what the other wants.
      const records = Array.from({ length: 1_000 }, (_, index) =>
        line({ collection: "c", [name]: `k${String(index).padStart(4, "0")}`, value: { index } }),
      );
      const both = await Promise.all([
        importInto(t, source, pieces(records.join("")), { mode: "merge" }),
        importInto(t, source, pieces(records.toReversed().join("")), { mode: "merge" }),
      ]);
      const sum = (of: "imported" | "updated" | "skipped") =>
        both.reduce((total, counts) => total + counts[of], 0);
      expect([sum("imported"), sum("updated"), sum("skipped")]).toEqual([1_000, 0, 1_000]);
      expect((await exportOf(t, source)).split("\n")).toHaveLength(1_001);
    }
  });

  test("only so many are under way, and each gives its place back however it ends", async () => {
    const t = await open();
    for (let key = 0; key < 200; key += 1) {
      await t.kv.set(by("r"), "one", { collection: "c", key: `${key}`, value: 1 });
    }
    const full = async () => {
      const given = [];
      for (let count = 0; count < dataTransfersMax; count += 1) {
        given.push((await t.transfer.export(by("r"), "one", "kv", null)).chunks);
      }
      expect(await codeOf(t.transfer.export(by("r"), "one", "kv", null))).toBe("overloaded");
      expect(await codeOf(importInto(t, "kv", pieces()))).toBe("overloaded");
      return given;
    };
    // Never asked for anything, left in the middle, read to the end.
    for (const chunks of await full()) await chunks.return(undefined);
    for (const chunks of await full()) {
      await chunks.next();
      await chunks.return(undefined);
    }
    for (const chunks of await full()) expect((await textOf(chunks)).split("\n")).toHaveLength(201);
    for (let count = 0; count <= dataTransfersMax; count += 1) {
      expect(await codeOf(importInto(t, "kv", pieces("x")))).toBe("invalid");
    }
    for (const chunks of await full()) await chunks.return(undefined);
  });

  test("an export goes on over what is written meanwhile, and repeats nothing", async () => {
    const t = await open();
    for (let key = 0; key < 300; key += 1) {
      await t.kv.set(by("r"), "one", {
        collection: "c",
        key: `k${String(key).padStart(3, "0")}`,
        value: 1,
      });
    }
    const { chunks } = await t.transfer.export(by("r"), "one", "kv", null);
    const first = await chunks.next();
    for (const key of ["k000", "k299"]) {
      await t.kv.delete(by("r"), "one", { collection: "c", key, if_version: null });
    }
    await t.kv.set(by("r"), "one", { collection: "c", key: "k2985", value: 2 });
    await t.kv.set(by("r"), "one", { collection: "a", key: "k", value: 2 });
    const rest = await textOf(chunks);
    const keys = (Buffer.from(first.value as Uint8Array).toString() + rest)
      .trim()
      .split("\n")
      .map((text) => (JSON.parse(text) as { key: string }).key);
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys.toSorted()).toEqual(keys);
    expect([keys[0], keys.at(-1), keys.length]).toEqual(["k000", "k2985", 300]);
  });

  test("an import gives everybody else a turn", async () => {
    const t = await open();
    const text = Array.from({ length: 5_000 }, (_, index) =>
      line({ collection: "c", key: `k${index}`, value: 1 }),
    ).join("");
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    await importInto(t, "kv", pieces(text));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(10);
  });
});
