import { describe, expect, test } from "bun:test";
import { hostCallBytesMax, txKeysMax, txTriesMax } from "../../src/domain/limits.ts";
import {
  type Done,
  type HostCall,
  handler,
  setup as setupSandbox,
} from "../sandbox/child-setup.ts";

interface Stored {
  value: string;
  version: number;
}

type Place = { source: string; collection: string; key: string };

/** Answers the calls of `tx` as the host does, from a map. */
class FakeHost {
  readonly records = new Map<string, Stored>();
  readonly calls: HostCall[] = [];
  /** Ordinal → what was recorded. */
  readonly recorded = new Map<number, { value?: unknown }>();
  /** Called before each call is answered. */
  before: (call: HostCall) => void = () => {};
  /** Answers of one `tx.read` at most. */
  readMax = 1_000;

  answer = (call: HostCall): unknown => {
    this.calls.push(call);
    this.before(call);
    const { args } = call;
    switch (call.name) {
      case "tx.begin": {
        const result = this.recorded.get(args.ordinal as number);
        return result === undefined ? null : { state: "recorded", ...result };
      }
      case "tx.read":
        return (args.records as Place[]).slice(0, this.readMax).map((place) => {
          const found = this.records.get(nameOf(place));
          return found === undefined ? null : { ...found, digest: found.value };
        });
      case "tx.check":
        return this.#verdict(args);
      case "tx.commit":
        return this.#commit(args);
      default:
        return null;
    }
  };

  set(key: string, value: unknown, version = 1): void {
    this.records.set(nameOf({ source: "kv", collection: "c", key }), {
      value: JSON.stringify(value),
      version,
    });
  }

  get(key: string): unknown {
    const found = this.records.get(nameOf({ source: "kv", collection: "c", key }));
    return found === undefined ? undefined : JSON.parse(found.value);
  }

  named(name: string): HostCall[] {
    return this.calls.filter((call) => call.name === name);
  }

  #verdict({ reads, run }: Record<string, unknown>): unknown {
    const isStale = (reads as (Place & { version: number; digest: string })[]).some((read) => {
      const found = this.records.get(nameOf(read));
      return (found?.version ?? 0) !== read.version || (found?.value ?? "") !== read.digest;
    });
    if (!isStale) return { state: "committed" };
    if (run !== txTriesMax) return { state: "conflict" };
    return Object.assign(new Error("too many"), { name: "PicError", code: "tx_conflict" });
  }

  #commit(args: Record<string, unknown>): unknown {
    const verdict = this.#verdict(args);
    if ((verdict as { state?: string }).state !== "committed") return verdict;
    for (const write of args.writes as (Place & { op: string; value?: unknown })[]) {
      const name = nameOf(write);
      const version = (this.records.get(name)?.version ?? 0) + 1;
      if (write.op === "delete") this.records.delete(name);
      else this.records.set(name, { value: JSON.stringify(write.value), version });
    }
    if (args.ordinal !== undefined)
      this.recorded.set(args.ordinal as number, args.result as object);
    return verdict;
  }
}

const nameOf = ({ source, collection, key }: Place): string => `${source} ${collection} ${key}`;

async function setup() {
  const host = new FakeHost();
  const { run } = await setupSandbox({ answer: host.answer });
  /** Runs a handler's body with `tx`, `kv` and `failure`, which resolves to the code of what was thrown. */
  const inHandler = async (body: string, options: { delivery?: boolean } = {}): Promise<Done> =>
    run(
      `import { tx, kv } from "picloud";
      const failure = (p) => p.then((value) => ({ value }), (e) => e.code ?? String(e));
      ${handler(body)}`,
      options,
    );
  const resultOf = async (body: string, options: { delivery?: boolean } = {}): Promise<unknown> => {
    const done = await inHandler(body, options);
    if (done.status === "success") return done.value;
    throw new Error(`${done.status} ${done.error?.name}: ${done.error?.message}`);
  };
  return { host, inHandler, resultOf };
}

describe("reads and writes", () => {
  test("what a transaction has written it reads, and nobody else before its end", async () => {
    const { host, resultOf } = await setup();
    host.set("old", 1);
    const seen = await resultOf(`return tx(async (t) => {
      const c = t.kv.collection("c");
      const seen = [await c.get("old"), await c.get("new"), await c.has("new")];
      await c.set("new", { a: [1] });
      await c.set("old", 2);
      seen.push(await c.get("new"), await c.has("new"), await c.get("old"));
      seen.push(await c.delete("old"), await c.delete("old"), await c.get("old"), await c.has("old"));
      seen.push(await c.increment("n"), await c.increment("n", 2.5), await c.get("n"));
      return seen;
    })`);
    expect(seen).toEqual([
      1,
      null,
      false,
      { a: [1] },
      true,
      2,
      true,
      false,
      null,
      false,
      1,
      3.5,
      3.5,
    ]);
    expect(host.named("tx.commit")).toHaveLength(1);
    expect(host.get("new")).toEqual({ a: [1] });
    expect(host.get("old")).toBeUndefined();
    expect(host.get("n")).toBe(3.5);
  });

  test("values are copied when they are written and when they are read", async () => {
    const { host, resultOf } = await setup();
    host.set("read", { a: 1 });
    const seen = await resultOf(`return tx(async (t) => {
      const c = t.kv.collection("c");
      const value = { a: 1 };
      const writing = c.set("written", value);
      value.a = 2;
      await writing;
      const one = await c.get("read");
      one.a = 3;
      (await c.get("written")).a = 4;
      return [await c.get("read"), await c.get("written")];
    })`);
    expect(seen).toEqual([{ a: 1 }, { a: 1 }]);
    expect(host.get("written")).toEqual({ a: 1 });
  });

  test("reads that begin together are one call, and go on when the host answers in part", async () => {
    const { host, resultOf } = await setup();
    for (const key of ["a", "b", "d"]) host.set(key, key);
    host.readMax = 3;
    const seen = await resultOf(`return tx(async (t) => {
      const c = t.kv.collection("c");
      return [await Promise.all(["a", "b", "a", "c", "d"].map((key) => c.get(key))), await c.get("a")];
    })`);
    expect(seen).toEqual([["a", "b", "a", null, "d"], "a"]);
    expect(host.named("tx.read").map(({ args }) => (args.records as Place[]).length)).toEqual([
      4, 1,
    ]);
  });

  test("the commit carries each record once: what was read of it, and what it is to be", async () => {
    const { host, resultOf } = await setup();
    host.set("both", 1, 7);
    host.set("read", 1, 8);
    host.set("gone", 1, 9);
    await resultOf(`await tx(async (t) => {
      const c = t.kv.collection("c");
      await c.set("blind", 1, { ttl: 5 });
      await c.increment("blind");
      await c.increment("both");
      await c.increment("new", 1, { ttl: 9 });
      await c.increment("new");
      await c.delete("gone");
      await c.set("gone again", 1);
      await c.delete("gone again");
      await c.get("read");
    })`);
    const place = (key: string) => ({ source: "kv", collection: "c", key });
    expect(host.named("tx.commit")[0]?.args).toEqual({
      run: 1,
      reads: [
        { ...place("both"), version: 7, digest: "1" },
        { ...place("new"), version: 0, digest: "" },
        { ...place("gone"), version: 9, digest: "1" },
        { ...place("read"), version: 8, digest: "1" },
      ],
      writes: [
        { ...place("blind"), op: "put", value: 2, ttl: 5 },
        { ...place("both"), op: "put", value: 2, ttl: "kept" },
        { ...place("new"), op: "put", value: 2, ttl: 9 },
        { ...place("gone"), op: "delete" },
        { ...place("gone again"), op: "delete" },
      ],
    });
  });

  test.each(["__proto__", "constructor", "a b", "1 c", "\u0000", "€", "\ud800"])(
    "the key %j is one of its own",
    async (key) => {
      const { host, resultOf } = await setup();
      const text = JSON.stringify(key);
      await resultOf(`await tx(async (t) => {
        await t.kv.collection(${text}).set("k", 1);
        await t.kv.collection("c").set(${text}, 2);
      })`);
      expect(host.named("tx.commit")[0]?.args.writes).toEqual([
        { source: "kv", collection: key, key: "k", op: "put", value: 1 },
        { source: "kv", collection: "c", key, op: "put", value: 2 },
      ]);
    },
  );

  test("operations that nobody waits for are part of it when they began inside", async () => {
    const { host, resultOf } = await setup();
    host.set("k", 1);
    await resultOf(`await tx((t) => {
      void t.kv.collection("c").increment("k");
      void t.kv.collection("c").increment("k");
    })`);
    expect(host.get("k")).toBe(3);
  });

  test("it resolves to what its function does, as JSON", async () => {
    const { resultOf } = await setup();
    const seen = await resultOf(`
      const nothing = await tx(() => {});
      return [nothing === undefined, await tx(() => null), await tx(async () => new Date(0)), await tx(() => ({ a: undefined, b: 1 })),
        await failure(tx(() => () => 1)), await failure(tx(() => 5n)).then((text) => text.startsWith("TypeError"))]`);
    expect(seen).toEqual([true, null, "1970-01-01T00:00:00.000Z", { b: 1 }, "tx_invalid", true]);
  });
});

describe("documents", () => {
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

  test("are inserted, replaced, patched and deleted as docs does it", async () => {
    const { host, resultOf } = await setup();
    const before = Date.now();
    const seen = (await resultOf(`return tx(async (t) => {
      const c = t.docs.collection("d");
      const { id } = await c.insert({ n: 1, deep: { a: 1, b: [1] } });
      const seen = [id, await c.get(id)];
      const patched = await c.patch(id, { n: null, deep: { a: 2 }, new: [1] });
      patched.later = 1;
      seen.push(await c.get(id));
      seen.push(await c.replace(id, { only: true }), await c.insert({ id: "mine" }), await c.get("none"));
      seen.push(await c.delete("mine"), await c.delete("mine"), await c.get("mine"));
      return seen;
    })`)) as [string, ...unknown[]];
    const [id, ...rest] = seen;
    expect(id).toMatch(uuid);
    const time = Number.parseInt(id.replace("-", "").slice(0, 12), 16);
    expect(time).toBeGreaterThanOrEqual(before);
    expect(time).toBeLessThanOrEqual(Date.now());
    expect(rest).toEqual([
      { id, n: 1, deep: { a: 1, b: [1] } },
      { id, deep: { a: 2, b: [1] }, new: [1] },
      { id, only: true },
      { id: "mine" },
      null,
      true,
      false,
      null,
    ]);
    const place = (key: string) => ({ source: "docs", collection: "d", key });
    const absent = { version: 0, digest: "" };
    expect(host.named("tx.commit")[0]?.args).toMatchObject({
      reads: [id, "mine", "none"].map((key) => ({ ...place(key), ...absent })),
      writes: [
        { ...place(id), op: "put", value: { id, only: true } },
        { ...place("mine"), op: "delete" },
      ],
    });
    // Nothing is asked of a document with a new id.
    expect(host.named("tx.read").map(({ args }) => args.records)).toEqual([
      [place("mine")],
      [place("none")],
    ]);
  });

  test("a patch merges by RFC 7396", async () => {
    const { resultOf } = await setup();
    const cases: [object, object, object][] = [
      [{ a: "b" }, { a: "c" }, { a: "c" }],
      [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
      [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
      [{ a: ["b"] }, { a: "c" }, { a: "c" }],
      [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
      [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
      [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
      [{ e: null }, { a: 1 }, { e: null, a: 1 }],
      [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
      [
        { a: 1 },
        JSON.parse('{"__proto__":{"b":1},"constructor":2}'),
        JSON.parse('{"a":1,"__proto__":{"b":1},"constructor":2}'),
      ],
    ];
    const texts = JSON.stringify(JSON.stringify(cases));
    const merged = (await resultOf(`return tx(async (t) => {
      const c = t.docs.collection("d");
      const merged = [];
      for (const [document, patch] of JSON.parse(${texts})) {
        const { id } = await c.insert(document);
        await c.patch(id, patch);
        const { id: own, ...rest } = await c.get(id);
        merged.push(JSON.stringify(rest));
      }
      return merged;
    })`)) as string[];
    expect(merged).toEqual(cases.map(([, , result]) => JSON.stringify(result)));
  });

  test("what cannot be is refused, and nothing of it is written", async () => {
    const { host, resultOf } = await setup();
    const seen = await resultOf(`return tx(async (t) => {
      const c = t.docs.collection("d");
      await c.insert({ id: "here" });
      return Promise.all([c.insert({ id: "here" }), c.insert({ id: 5 }), c.insert([]), c.insert(null), c.insert(), c.insert("x"),
        c.replace("none", {}), c.replace("here", { id: "other" }), c.replace("here", []), c.patch("none", {}),
        c.patch("here", { id: "other" }), c.patch("here", { id: null }), c.patch("here", 5), c.get(5), c.delete()].map(failure));
    })`);
    expect(seen).toEqual([
      "docs_exists",
      "docs_invalid_id",
      "docs_invalid_value",
      "docs_invalid_value",
      "docs_invalid_value",
      "docs_invalid_value",
      "docs_not_found",
      "docs_invalid_id",
      "docs_invalid_value",
      "docs_not_found",
      "docs_invalid_id",
      "docs_invalid_id",
      "docs_invalid_value",
      "docs_invalid_id",
      "docs_invalid_id",
    ]);
    const writes = host.named("tx.commit")[0]?.args.writes as Place[];
    expect(writes.map(({ key }) => key)).toEqual(["here"]);
  });
});

describe("conflicts", () => {
  test("the function runs again with what is there then, and only its last run counts", async () => {
    const { host, resultOf } = await setup();
    host.set("k", 1);
    let others = 2;
    host.before = ({ name }) => {
      if (name === "tx.commit" && others-- > 0) host.set("k", 10 * (2 - others), 50 - others);
    };
    const seen = await resultOf(`let runs = 0;
      const sum = await tx(async (t) => {
        runs += 1;
        if (runs === 1) await t.kv.collection("c").set("first only", 1);
        return t.kv.collection("c").increment("k");
      });
      return { runs, sum }`);
    expect(seen).toEqual({ runs: 3, sum: 21 });
    expect(host.get("k")).toBe(21);
    expect(host.get("first only")).toBeUndefined();
    expect(host.named("tx.commit").map(({ args }) => args.run)).toEqual([1, 2, 3]);
  });

  test("five in a row are tx_conflict", async () => {
    const { host, resultOf } = await setup();
    let version = 1;
    host.before = ({ name }) => {
      if (name === "tx.commit") host.set("k", 0, ++version);
    };
    const seen = await resultOf(`let runs = 0;
      const code = await failure(tx(async (t) => { runs += 1; await t.kv.collection("c").increment("k"); }));
      return { runs, code }`);
    expect(seen).toEqual({ runs: txTriesMax, code: "tx_conflict" });
    expect(host.get("k")).toBe(0);
  });

  test("what was only read is checked, too, without a call that counts as an effect", async () => {
    const { host, resultOf } = await setup();
    host.set("k", 1);
    let others = 1;
    host.before = ({ name }) => {
      if (name === "tx.check" && others-- > 0) host.set("k", 2, 2);
    };
    expect(await resultOf('return tx((t) => t.kv.collection("c").get("k"))')).toBe(2);
    expect(host.named("tx.check")).toHaveLength(2);
    expect(host.named("tx.commit")).toHaveLength(0);
  });

  test("a function that reads and writes nothing asks the host nothing", async () => {
    const { host, resultOf } = await setup();
    expect(await resultOf("return tx(() => 5)")).toBe(5);
    expect(host.calls).toEqual([]);
  });
});

describe("a function that throws", () => {
  test("writes nothing, is not run again, and its error is passed on", async () => {
    const { host, resultOf } = await setup();
    const seen = await resultOf(`let runs = 0;
      const mine = new RangeError("mine");
      const caught = await tx(async (t) => {
        runs += 1;
        await t.kv.collection("c").set("k", 1);
        throw mine;
      }).catch((error) => error);
      return [caught === mine, runs, await failure(tx(() => { throw mine; }))]`);
    expect(seen).toEqual([true, 1, "RangeError: mine"]);
    expect(host.calls).toEqual([]);
  });

  test("for having seen two records from different moments is run again", async () => {
    const { host, resultOf } = await setup();
    host.set("a", 1);
    host.set("b", 1);
    let reads = 0;
    host.before = ({ name }) => {
      if (name !== "tx.read" || ++reads !== 2) return;
      host.set("a", 2, 2);
      host.set("b", 2, 2);
    };
    const seen = await resultOf(`return tx(async (t) => {
      const c = t.kv.collection("c");
      const [a, b] = [await c.get("a"), await c.get("b")];
      if (a !== b) throw new Error("a and b are always equal");
      return [a, b];
    })`);
    expect(seen).toEqual([2, 2]);
  });

  test("after consistent reads is not", async () => {
    const { host, resultOf } = await setup();
    const seen = await resultOf(`let runs = 0;
      const code = await failure(tx(async (t) => {
        runs += 1;
        await t.kv.collection("c").get("a");
        await t.kv.collection("c").get("b");
        throw new Error("x");
      }));
      return [runs, code]`);
    expect(seen).toEqual([1, "Error: x"]);
    expect(host.named("tx.check")).toHaveLength(1);
  });
});

describe("misuse", () => {
  test("what is no function is refused", async () => {
    const { resultOf } = await setup();
    expect(await resultOf('return [await failure(tx()), await failure(tx("x"))]')).toEqual([
      "TypeError: tx takes a function",
      "TypeError: tx takes a function",
    ]);
  });

  test("t is over with its function", async () => {
    const { host, resultOf } = await setup();
    const seen = await resultOf(`let kept;
      await tx((t) => { kept = t; });
      const c = kept.kv.collection("c");
      return Promise.all([c.get("k"), c.has("k"), c.set("k", 1), c.delete("k"), c.increment("k")].map(failure))`);
    expect(seen).toEqual(Array(5).fill("tx_invalid"));
    expect(host.calls).toEqual([]);
  });

  test("inside, no other call of the host is made and no other tx begins", async () => {
    const { host, resultOf } = await setup();
    const seen = await resultOf(`
      const inside = await tx(async (t) => {
        await t.kv.collection("c").get("k");
        const k = kv.collection("c");
        return Promise.all([k.get("a"), k.set("a", 1), k.list(), tx(() => 1)].map(failure));
      });
      await kv.collection("c").get("after");
      return inside`);
    expect(seen).toEqual(Array(4).fill("tx_invalid"));
    expect(host.named("kv.get").map(({ args }) => args.key)).toEqual(["after"]);
    expect(host.named("kv.set")).toEqual([]);
  });

  test("after a function that threw, calls are made again", async () => {
    const { host, resultOf } = await setup();
    await resultOf(`await failure(tx(() => { throw new Error("x"); }));
      await kv.collection("c").get("k"); await tx(() => 1)`);
    expect(host.named("kv.get")).toHaveLength(1);
  });

  test("two that begin together run one after the other, in the order of the calls", async () => {
    const { host, resultOf } = await setup();
    const seen = await resultOf(`const order = [];
      const one = (name) => tx(async (t) => {
        order.push(name + " in");
        const n = await t.kv.collection("c").increment("k");
        order.push(name + " out");
        return n;
      });
      const sums = await Promise.all([one("a"), failure(tx(() => { throw new Error("b"); })), one("c")]);
      return { sums, order }`);
    expect(seen).toEqual({
      sums: [1, "Error: b", 2],
      order: ["a in", "a out", "c in", "c out"],
    });
    expect(host.get("k")).toBe(2);
  });

  test("more than a hundred keys are too many, read or written", async () => {
    const { host, resultOf } = await setup();
    const many = (count: number) => `failure(tx(async (t) => {
      const c = t.kv.collection("c");
      for (let i = 0; i < ${count}; i += 1) await (i % 2 ? c.set("k" + i, i) : c.get("k" + i));
      await c.set("k0", 5);
      return "fits";
    }))`;
    expect(
      await resultOf(`return [await ${many(txKeysMax)}, await ${many(txKeysMax + 1)}]`),
    ).toEqual([{ value: "fits" }, "tx_too_large"]);
    expect(host.named("tx.commit")).toHaveLength(1);
  });

  test("more than one host call may carry is too much", async () => {
    const { host, resultOf } = await setup();
    const value = Math.floor(hostCallBytesMax / 8);
    const seen = await resultOf(`return failure(tx(async (t) => {
      for (let i = 0; i < 9; i += 1) await t.kv.collection("c").set("k" + i, "x".repeat(${value}));
    }))`);
    expect(seen).toBe("tx_too_large");
    expect(host.calls).toEqual([]);
  });

  test("names and values that are none reject before anything is sent", async () => {
    const { host, resultOf } = await setup();
    const seen = await resultOf(`return tx(async (t) => {
      const c = t.kv.collection("c");
      return Promise.all([c.get(5), c.get(), t.kv.collection({}).get("k"), c.set("k"), c.set("k", () => 1),
        c.set("k", 5n).then(null, (e) => { throw e.name; }), c.increment("n", "1"), c.increment("n", Infinity)].map(failure));
    })`);
    expect(seen).toEqual([
      "kv_invalid_key",
      "kv_invalid_key",
      "kv_invalid_key",
      "kv_invalid_value",
      "kv_invalid_value",
      "TypeError",
      "kv_not_a_number",
      "kv_not_a_number",
    ]);
    expect(host.named("tx.commit")).toEqual([]);
  });

  test("increment of what is no number is refused and changes nothing", async () => {
    const { host, resultOf } = await setup();
    host.set("k", "1");
    expect(await resultOf('return failure(tx((t) => t.kv.collection("c").increment("k")))')).toBe(
      "kv_not_a_number",
    );
    expect(host.get("k")).toBe("1");
  });

  test("what a script did to the prototypes does not show in what is sent", async () => {
    const { host, resultOf } = await setup();
    host.set("k", 1);
    await resultOf(`
      Array.prototype.toJSON = Object.prototype.toJSON = () => "spoiled";
      Array.prototype.push = Map.prototype.get = () => { throw new Error("spoiled"); };
      await tx(async (t) => t.kv.collection("c").increment("k"));
      delete Object.prototype.toJSON; delete Array.prototype.toJSON;`);
    expect(host.get("k")).toBe(2);
  });
});

describe("in the handler of an event", () => {
  const body = `return [await tx(async (t) => t.kv.collection("c").increment("a")), await tx(async (t) => t.kv.collection("c").increment("b"))]`;

  test("each tx asks first whether it is recorded, and records its result", async () => {
    const { host, resultOf } = await setup();
    expect(await resultOf(body, { delivery: true })).toEqual([1, 1]);
    expect(host.calls.map(({ name, args }) => [name, args.ordinal])).toEqual([
      ["tx.begin", 1],
      ["tx.read", undefined],
      ["tx.commit", 1],
      ["tx.begin", 2],
      ["tx.read", undefined],
      ["tx.commit", 2],
    ]);
    expect([...host.recorded]).toEqual([
      [1, { value: 1 }],
      [2, { value: 1 }],
    ]);
  });

  test("a later attempt gets what is recorded, and its function does not run", async () => {
    const { host, resultOf } = await setup();
    host.recorded.set(1, { value: { from: "before" } });
    host.recorded.set(3, {});
    const seen = await resultOf(
      `const ran = [];
      const results = [];
      for (const n of [1, 2, 3]) results.push(await tx(() => { ran.push(n); return n; }) ?? "undefined");
      return { ran, results }`,
      { delivery: true },
    );
    expect(seen).toEqual({ ran: [2], results: [{ from: "before" }, 2, "undefined"] });
  });

  test("one that only reads, or does nothing, is recorded, too", async () => {
    const { host, resultOf } = await setup();
    await resultOf('await tx((t) => t.kv.collection("c").get("k")); await tx(() => {})', {
      delivery: true,
    });
    expect(host.named("tx.commit").map(({ args }) => args.result)).toEqual([{ value: null }, {}]);
  });

  test("numbers follow the calls, also of those that throw or wait for their turn", async () => {
    const { host, resultOf } = await setup();
    await resultOf(
      `const first = tx(() => { throw new Error("x"); }).catch(() => {});
      await Promise.all([first, tx(() => "second"), tx(() => "third")])`,
      { delivery: true },
    );
    expect([...host.recorded]).toEqual([
      [2, { value: "second" }],
      [3, { value: "third" }],
    ]);
  });

  test("each execution counts from one", async () => {
    const { host, resultOf } = await setup();
    for (let attempt = 0; attempt < 2; attempt += 1) await resultOf(body, { delivery: true });
    expect(host.named("tx.begin").map(({ args }) => args.ordinal)).toEqual([1, 2, 1, 2]);
    expect(host.get("a")).toBe(1);
  });
});
