import { describe, expect, test } from "bun:test";
import type { Database, Tx, Writer } from "../../../src/storage/port.ts";
import { getSetting, setSetting } from "../../../src/storage/settings.ts";
import { sql } from "../../../src/storage/sql.ts";
import { codeOf, type Engine, messageOf, opener } from "./engine.ts";

export function transactionConformance(engine: Engine): void {
  const open = opener(engine);

  test("a transaction's writes are read after it, and its value is returned", async () => {
    const { db } = await open();
    const value = await db.tx(async (tx) => {
      await setSetting(tx, "a", "1");
      return "value";
    });
    expect(value).toBe("value");
    expect(await getSetting(db, "a")).toBe("1");
  });

  test("a function that throws leaves nothing behind, and its own error comes out", async () => {
    const { db } = await open();
    const thrown = new Error("mine");
    const failed = db.tx(async (tx) => {
      await setSetting(tx, "a", "1");
      throw thrown;
    });
    expect(await failed.catch((error: unknown) => error)).toBe(thrown);
    expect(await getSetting(db, "a")).toBeNull();
  });

  test("a function that throws before its first await is rolled back too", async () => {
    const { db } = await open();
    const failed = db.tx(() => {
      throw new Error("at once");
    });
    expect(await messageOf(failed)).toContain("at once");
    await writes(db);
  });

  test("a transaction reads its own writes; nobody else does before the commit", async () => {
    const { db } = await open();
    await db.tx(async (tx) => {
      await setSetting(tx, "a", "1");
      expect(await getSetting(tx, "a")).toBe("1");
      expect(await getSetting(db, "a")).toBeNull();
    });
  });

  test("nested awaits of a transaction's own SQL keep their order", async () => {
    const { db } = await open();
    const bump = async (tx: Tx): Promise<void> => {
      const old = Number((await getSetting(tx, "n")) ?? "0");
      await Promise.resolve();
      await setSetting(tx, "n", String(old + 1));
    };
    const twice = async (tx: Tx): Promise<void> => {
      await tx.lock("n");
      await bump(tx);
      await bump(tx);
    };
    await Promise.all(Array.from({ length: 20 }, () => db.tx(twice)));
    expect(await getSetting(db, "n")).toBe("40");
  });

  test("transactions that run at the same time are as if one came after the other", async () => {
    const { db } = await open();
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        db.tx(async (tx) => {
          await tx.lock("order");
          await setSetting(tx, `s${index}`, "1");
          order.push(index);
          await setSetting(tx, "last", String(index));
          expect(order.at(-1)).toBe(index);
        }),
      ),
    );
    expect(await getSetting(db, "last")).toBe(String(order.at(-1)));
  });

  test("SQL on a transaction that has ended is an assertion failure", async () => {
    const { db } = await open();
    let kept: Tx | undefined;
    await db.tx(async (tx) => {
      kept = tx;
    });
    expect(await messageOf(setSetting(kept as Tx, "a", "1"))).toContain("has ended");
    expect(() => (kept as Tx).afterCommit(() => {})).toThrow("has ended");
    expect(await getSetting(db, "a")).toBeNull();
  });

  test("after a failed statement nothing is committed, also when the error is caught", async () => {
    const { db } = await open();
    const failed = db.tx(async (tx) => {
      await setSetting(tx, "a", "1");
      await tx.run(sql`insert into settings (name, value) values ('a', '2')`).catch(() => {});
      await setSetting(tx, "b", "1").catch(() => {});
    });
    expect(await codeOf(failed)).toBe("conflict");
    expect(await getSetting(db, "a")).toBeNull();
    await writes(db);
  });

  test("a transaction past its deadline is rolled back, and the next one runs", async () => {
    const { db } = await open({ txMsMax: 50 });
    let release = (): void => {};
    let after: Promise<string> | undefined;
    const stuck = db.tx(async (tx) => {
      await setSetting(tx, "a", "1");
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      after = messageOf(setSetting(tx, "b", "1"));
      await after;
    });
    expect(await codeOf(stuck)).toBe("unavailable");
    await writes(db);
    release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(await after).toContain("has ended");
    expect(await getSetting(db, "a")).toBeNull();
    expect(await getSetting(db, "b")).toBeNull();
  });

  afterCommitConformance(open);
  notifyConformance(open);
  lifeConformance(open);
}

type Open = ReturnType<typeof opener>;

function afterCommitConformance(open: Open): void {
  describe("afterCommit", () => {
    test("functions run in order, after the commit and before tx resolves", async () => {
      const { db } = await open();
      const calls: string[] = [];
      await db.tx(async (tx) => {
        tx.afterCommit(() => calls.push("first"));
        await setSetting(tx, "a", "1");
        tx.afterCommit(() => calls.push("second"));
        calls.push("body");
      });
      calls.push("resolved");
      expect(calls).toEqual(["body", "first", "second", "resolved"]);
    });

    test("none runs after a rollback", async () => {
      const { db } = await open();
      let called = false;
      const failed = db.tx(async (tx) => {
        tx.afterCommit(() => {
          called = true;
        });
        throw new Error("no");
      });
      expect(await messageOf(failed)).toContain("no");
      expect(called).toBe(false);
    });

    test("one that throws disturbs neither the others nor the transaction", async () => {
      const { db } = await open();
      let called = false;
      await db.tx(async (tx) => {
        await setSetting(tx, "a", "1");
        tx.afterCommit(() => {
          throw new Error("listener");
        });
        tx.afterCommit(() => {
          called = true;
        });
      });
      expect(called).toBe(true);
      expect(await getSetting(db, "a")).toBe("1");
    });
  });
}

function notifyConformance(open: Open): void {
  describe("notify and listen", () => {
    test("every listener of the channel hears it after the commit, in order", async () => {
      const { db } = await open();
      const heard: string[] = [];
      const all = Promise.withResolvers<void>();
      await db.listen("c", async (payload) => {
        heard.push(payload);
        if (payload === "two ♥") all.resolve();
      });
      await db.listen("other", () => heard.push("wrong channel"));
      await db.tx(async (tx) => {
        await db.notify(tx, "c", "one");
        await db.notify(tx, "c", "two ♥");
        expect(heard).toEqual([]);
      });
      await all.promise;
      expect(heard).toEqual(["one", "two ♥"]);
    });

    test("a rollback tells nobody, and a stopped listener hears nothing", async () => {
      const { db } = await open();
      const heard: string[] = [];
      const stop = await db.listen("c", (payload) => heard.push(`a ${payload}`));
      const done = Promise.withResolvers<void>();
      await db.listen("c", (payload) => {
        heard.push(`b ${payload}`);
        done.resolve();
      });
      const failed = db.tx(async (tx) => {
        await db.notify(tx, "c", "rolled back");
        throw new Error("no");
      });
      await messageOf(failed);
      stop();
      stop();
      await db.tx((tx) => db.notify(tx, "c", "kept"));
      await done.promise;
      expect(heard).toEqual(["b kept"]);
    });
  });
}

function lifeConformance(open: Open): void {
  describe("bounds and life", () => {
    test("a full queue refuses at once and recovers", async () => {
      const { db } = await open({ writerQueueMax: 4 });
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          codeOf(db.tx((tx) => setSetting(tx, `s${index}`, "1"))),
        ),
      );
      expect(new Set(outcomes)).toEqual(new Set(["resolved", "unavailable"]));
      expect(outcomes.filter((outcome) => outcome === "resolved").length).toBeGreaterThanOrEqual(4);
      await writes(db);
    });

    test("what is seen becomes durable, and grows only", async () => {
      const { db } = await open();
      const seen = { seq: 0 };
      await db.tx((tx) => setSetting(tx, "a", "1"), { seen });
      await db.durable(seen);
      expect(db.isDurable(seen)).toBe(true);
      const { seq } = seen;
      await db.get(sql`select name from settings`, seen);
      await db.all(sql`select name from settings`, seen);
      await db.scan(sql`select name from settings`, seen);
      expect(seen.seq).toBeGreaterThanOrEqual(seq);
      await db.durable(seen);
      expect(db.isDurable({ seq: 0 })).toBe(true);
    });

    test("a statement of its own is a transaction: read after it, noted, durable when waited for", async () => {
      const { db } = await open();
      const seen = { seq: 0 };
      expect(await insert(db.autocommit(seen), "a", "1")).toEqual({ changes: 1 });
      expect(await getSetting(db, "a")).toBe("1");
      const first = seen.seq;
      const returned = await db.autocommit(seen).get<{ name: string; value: string }>(
        sql`insert into settings (name, value) values (${"b"}, ${"1"}), (${"c"}, ${"2"})
          returning name, value`,
      );
      expect(returned).toEqual({ name: "b", value: "1" });
      expect(await getSetting(db, "c")).toBe("2");
      expect(seen.seq).toBeGreaterThan(first);
      await db.durable(seen);
      expect(db.isDurable(seen)).toBe(true);
      const none = sql`delete from settings where name = ${"nobody"}`;
      expect(await db.autocommit(seen).run(none)).toEqual({ changes: 0 });
      expect(await db.autocommit(seen).get(sql`${none} returning name`)).toBeNull();
    });

    test("a statement of its own that is refused leaves nothing behind and stops nobody", async () => {
      const { db } = await open();
      const seen = { seq: 0 };
      await insert(db.autocommit(seen), "a", "1");
      const both = db
        .autocommit(seen)
        .run(sql`insert into settings (name, value) values (${"b"}, ${"1"}), (${"a"}, ${"2"})`);
      expect(await codeOf(both)).toBe("conflict");
      expect(await getSetting(db, "b")).toBeNull();
      expect(await codeOf(insert(db.autocommit(seen), "nul\0", "1"))).toBe("invalid");
      await writes(db);
    });

    test("statements of their own take their turn between transactions", async () => {
      const { db } = await open();
      const seen = { seq: 0 };
      const add = (name: string) => sql`update settings set value = value || ${name}
        where name = ${"order"}`;
      await insert(db.autocommit(seen), "order", "");
      await Promise.all([
        db.tx(async (tx) => {
          await tx.run(add("a"));
          await tx.run(add("b"));
        }),
        db.autocommit(seen).run(add("c")),
        db.tx((tx) => tx.run(add("d"))),
        db.autocommit(seen).run(add("e")),
      ]);
      // In which order is the engine's; none is lost, and none comes into the middle of another.
      const order = (await getSetting(db, "order")) ?? "";
      expect(order).toContain("ab");
      expect([...order].sort().join("")).toBe("abcde");
    });

    test("a scan sees the commits before it", async () => {
      const { db } = await open();
      for (let index = 0; index < 20; index += 1) {
        await db.tx((tx) => setSetting(tx, `s${index}`, "1"));
        expect(await db.scan(sql`select name from settings`)).toHaveLength(index + 1);
      }
    });

    test("close waits for queued work, may be called twice, and then everything is refused", async () => {
      const { db } = await open();
      const queued = Array.from({ length: 10 }, (_, index) =>
        db.tx((tx) => setSetting(tx, `s${index}`, "1")),
      );
      await Promise.all([db.close(), db.close()]);
      await Promise.all(queued);
      expect(await codeOf(db.tx((tx) => setSetting(tx, "a", "1")))).toBe("unavailable");
      expect(await codeOf(insert(db.autocommit({ seq: 0 }), "a", "1"))).toBe("unavailable");
      expect(await codeOf(db.get(sql`select 1 as one`))).toBe("unavailable");
      expect(await codeOf(db.scan(sql`select 1 as one`))).toBe("unavailable");
    });

    test("reports its schema and its size, and gives pages back until nothing is left", async () => {
      const { db, logs } = await open();
      expect(db.schemaVersion()).toBeGreaterThanOrEqual(1);
      expect(await db.sizeBytes()).toBeGreaterThan(0);
      for (let step = 0; await logs.reclaim(); step += 1) expect(step).toBeLessThan(1_000);
    });
  });
}

function insert(w: Writer, name: string, value: string): Promise<{ changes: number }> {
  return w.run(sql`insert into settings (name, value) values (${name}, ${value})`);
}

async function writes(db: Database): Promise<void> {
  await db.tx((tx) => setSetting(tx, "works", "yes"));
  expect(await getSetting(db, "works")).toBe("yes");
}
