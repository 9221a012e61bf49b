import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { type Logger, silentLogger } from "../../src/base/log.ts";
import { type DataChange, Emission } from "../../src/bindings/emission.ts";
import type { BindingContext, DeliveryContext } from "../../src/domain/bindings.ts";
import { PicError } from "../../src/domain/errors.ts";
import { emittedBytesMax, eventDepthMax } from "../../src/domain/limits.ts";
import { outboxChannel } from "../../src/storage/outbox.ts";
import type { Database } from "../../src/storage/port.ts";
import { until } from "../execution/fakes.ts";
import { composeForTest, context, emitted, seedTrigger } from "./composed.ts";
import { ENGINES, opener } from "./engines.ts";

const change: DataChange = {
  source: "kv",
  type: "insert",
  collection: "c",
  key: "k",
  value: "1",
  previous: null,
};

for (const engine of ENGINES) {
  describe.skipIf(engine.missing !== null)(`${engine.name}: emission`, () => {
    const { open, defer } = opener(engine);

    async function setup() {
      const db = await open();
      const { live, usage, stop } = await composeForTest({ db, clock: systemClock });
      defer(stop);
      const lines: unknown[][] = [];
      const log: Logger = { ...silentLogger, warn: (...line) => void lines.push(line) };
      let lastId = 0;
      const newId = (): string => {
        lastId += 1;
        return `event-${lastId}`;
      };
      const clock = { ...systemClock, now: () => 77 };
      const emission = new Emission({ db, clock, newId, log, live, usage });
      const emit = (more: Partial<DataChange> = {}, cx: BindingContext = context()) =>
        db.tx((tx) => emission.emit(tx, cx, { ...change, ...more }));
      return { db, emit, lines, live, usage };
    }

    test("each trigger that wants the change gets one delivery of one event", async () => {
      const { db, emit } = await setup();
      for (const id of ["t1", "t2", "t3"]) await seedTrigger(db, { id });
      await seedTrigger(db, { id: "other", app: 2 });
      await seedTrigger(db, { id: "docs", kind: "docs" });
      await seedTrigger(db, { id: "updates", on_insert: 0 });
      await seedTrigger(db, { id: "elsewhere", collection: "cc" });
      await seedTrigger(db, { id: "off", is_enabled: 0 });
      expect(await emit()).toBe(3);
      const rows = await emitted(db);
      expect(rows.map(({ event_id, trigger_id }) => [event_id, trigger_id])).toEqual([
        ["event-1", "t1"],
        ["event-1", "t2"],
        ["event-1", "t3"],
      ]);
      expect(await emit({ type: "update" })).toBe(4);
      expect(await emit({ source: "docs" })).toBe(1);
      expect(await emit({ collection: "C" })).toBe(3);
    });

    test("the payload is JSON whatever the names and values are", async () => {
      const { db, emit } = await setup();
      await seedTrigger(db, { id: "t1" });
      for (const text of ['"}', "\\", "\u2028", "😀", "'; drop table outbox; --", "__proto__"]) {
        const value = JSON.stringify({ text, nul: "\0", lone: "\ud800" });
        await emit({ collection: text, key: text, value, previous: JSON.stringify(text) });
        expect((await emitted(db)).at(-1)).toMatchObject({
          collection: text,
          key: text,
          value: { text, nul: "\0", lone: "\ud800" },
          previous: text,
        });
        await db.tx((tx) => tx.run({ texts: ["delete from outbox"], values: [] }));
      }
    });

    test("one transaction has its triggers told so many bytes, and then nothing of it happens", async () => {
      const { db, emit, live, usage } = await setup();
      for (let index = 0; index < 5; index += 1) await seedTrigger(db, { id: `t${index}` });
      const value = JSON.stringify("x".repeat(emittedBytesMax / 4 - 200));
      const refused = await emit({ value }).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(PicError);
      expect(refused).toMatchObject({ code: "quota_exceeded" });
      expect(await emitted(db)).toEqual([]);
      const small = JSON.stringify("x".repeat(emittedBytesMax / 10));
      expect(await emit({ value: small })).toBe(5);
      // Together with what the same transaction has told before.
      const clock = systemClock;
      let made = 0;
      const newId = () => `more-${++made}`;
      const emission = new Emission({ db, clock, newId, log: silentLogger, live, usage });
      const twice = db.tx(async (tx) => {
        for (let times = 0; times < 3; times += 1) {
          await emission.emit(tx, context(), { ...change, value: small });
        }
      });
      expect(await twice.catch(({ code }) => code)).toBe("quota_exceeded");
      expect((await emitted(db)).length).toBe(5);
    });

    test("what a handler changes is one deeper, and of the same root", async () => {
      const { db, emit, lines } = await setup();
      await seedTrigger(db, { id: "t1" });
      await emit({}, inHandler(eventDepthMax - 1));
      expect((await emitted(db))[0]).toMatchObject({
        depth: eventDepthMax,
        root_execution_id: "root",
      });
      expect(lines).toEqual([]);
    });

    test("the deepest chain ends with a line in the log, if anybody listened, and no delivery", async () => {
      const { db, emit, lines } = await setup();
      await seedTrigger(db, { id: "t1" });
      expect(await emit({}, inHandler(eventDepthMax))).toBe(0);
      // No more than one line: an execution can write a thousand times.
      expect(await emit({}, inHandler(eventDepthMax))).toBe(0);
      expect(await emit({ source: "docs" }, inHandler(eventDepthMax))).toBe(0);
      expect(await emitted(db)).toEqual([]);
      expect(lines).toEqual([
        [
          `a chain of events ended at depth ${eventDepthMax}`,
          {
            app_id: "app-1",
            script_id: "script-1",
            execution_id: "execution-1",
            root_execution_id: "root",
            source: "kv",
            collection: "c",
          },
        ],
      ]);
    });

    test("dispatchers hear of it after the commit, and of nothing that was not", async () => {
      const { db, emit } = await setup();
      await seedTrigger(db, { id: "t1" });
      await seedTrigger(db, { id: "t2", app: 2 });
      const heard: string[] = [];
      const rows: number[] = [];
      const stop = await db.listen(outboxChannel, (app_id) => {
        heard.push(app_id);
        void countOf(db).then((n) => rows.push(n));
      });
      await emit({ collection: "x".repeat(10), source: "docs" });
      const failed = db.tx(async () => {
        throw new Error("no");
      });
      await failed.catch(() => {});
      await Promise.all(Array.from({ length: 20 }, () => emit()));
      await emit({}, context(2));
      await until(() => heard.includes("app-2") && rows.length === heard.length);
      expect(new Set(heard)).toEqual(new Set(["app-1", "app-2"]));
      expect(heard.length).toBeLessThanOrEqual(21);
      expect(Math.min(...rows)).toBeGreaterThan(0);
      stop();
    });
  });
}

function inHandler(depth: number): BindingContext {
  const delivery: DeliveryContext = {
    app_id: context().app_id,
    due_at: 0,
    event_id: "e0",
    trigger_id: "t0",
    depth,
    root_execution_id: "root",
    fence: 1,
    has_results: false,
  };
  return { ...context(), delivery };
}

async function countOf(db: Database): Promise<number> {
  return (await emitted(db)).length;
}
