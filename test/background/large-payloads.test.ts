import { afterEach, expect, test } from "bun:test";
import type { Delivery } from "../../src/domain/events.ts";
import { claimedPayloadBytesMax, largePayloadsPerAppMax } from "../../src/domain/limits.ts";
import type { DeliveryReport } from "../../src/execution/delivery.ts";
import { sql } from "../../src/storage/sql.ts";
import { settled, until } from "../execution/fakes.ts";
import { type Folder, openFolder } from "../execution/folder.ts";
import { type Dispatching, delivery, dispatching, failure, report } from "./dispatching.ts";

const opened: { folder: Folder; world: Dispatching }[] = [];
afterEach(async () => {
  for (const { folder, world } of opened.splice(0)) {
    let isStopped = false;
    void world.dispatcher.stop(0).then(() => {
      isStopped = true;
    });
    for (; !isStopped; world.time.advance(1_000)) await settled();
    await folder[Symbol.asyncDispose]();
  }
});

async function setup(): Promise<Dispatching> {
  const folder = await openFolder();
  const world = dispatching(folder.db);
  opened.push({ folder, world });
  return world;
}

const text = (bytes: number) => JSON.stringify({ value: "é".repeat(bytes / 2) });
const large = (over: Partial<Delivery> = {}) =>
  delivery({ payload: text(claimedPayloadBytesMax), ...over });

test("handlers get large payloads whole, and small ones as ever", async () => {
  const world = await setup();
  const small = delivery({ payload: text(claimedPayloadBytesMax / 2) });
  const sent = [large(), small, large()];
  await world.emit(...sent);
  await world.dispatcher.start();
  await until(() => world.dispatcher.stats().done === 3);
  const got = new Map(world.delivered.map(({ event_id, payload }) => [event_id, payload]));
  for (const { event_id, payload } of sent) expect(got.get(event_id) === payload).toBe(true);
});

test("few large ones of an app run at a time, and another app's do not wait for them", async () => {
  const world = await setup();
  const ends: (() => void)[] = [];
  let most = 0;
  let running = 0;
  world.handler = async ({ app_id }) => {
    if (app_id !== "app-1") return report();
    running += 1;
    most = Math.max(most, running);
    await new Promise<void>((resolve) => ends.push(resolve));
    running -= 1;
    return report();
  };
  await world.emit(...Array.from({ length: 8 }, () => large()));
  await world.dispatcher.start();
  await until(() => ends.length === largePayloadsPerAppMax);
  await world.emit(large({ app_id: "app-2" }));
  await until(() => world.dispatcher.stats().done === 1);
  for (let done = 1; done <= 8; done += 1) {
    await until(() => ends.length > 0);
    ends.shift()?.();
    await until(() => world.dispatcher.stats().done === done + 1);
  }
  expect(most).toBe(largePayloadsPerAppMax);
});

test("one that fails for good is in its letter with all of its payload", async () => {
  const world = await setup();
  world.handler = (): DeliveryReport => failure();
  const one = large({ retry: null });
  await world.emit(one);
  await world.dispatcher.start();
  await until(() => world.dispatcher.stats().dead === 1);
  const letters = await world.db.all(
    sql<{ payload: string }>`select payload from dead_letters where event_id = ${one.event_id}`,
  );
  expect(letters.map(({ payload }) => payload === one.payload)).toEqual([true]);
});

test("one that is deleted between claim and run is dropped without a word", async () => {
  const world = await setup();
  const one = large();
  await world.emit(one);
  // The claim is the last that sees it.
  const { get } = world.db;
  world.db.get = async (statement, seen) => {
    if (statement.texts.join("").startsWith("select payload from outbox")) {
      await world.db.tx((tx) => tx.run(sql`delete from outbox`));
    }
    return get.call(world.db, statement, seen) as never;
  };
  await world.dispatcher.start();
  await until(() => world.dispatcher.stats().running + world.dispatcher.stats().settling === 0);
  expect(world.delivered).toEqual([]);
  expect(world.lines).toEqual([]);
});
