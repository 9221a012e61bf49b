/**
 * Events and their handlers under kill -9 at random moments: nothing acknowledged is lost, effects
 * through `tx` happen exactly once, nothing stays stuck. 50 rounds; PICLOUD_ROUNDS asks for another number,
 * PICLOUD_SEED for another course.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dropStorage, expectWhole } from "./engine.ts";
import { deployShop, OrderBook, reconcile, startOrders } from "./orders.ts";
import { startServer } from "./server.ts";

const rounds = Number(process.env.PICLOUD_ROUNDS ?? 50);
const seed = Number(process.env.PICLOUD_SEED ?? Date.now() % 1_000_000);
/** The longest that a server lives after its first acknowledgement. */
const liveMsMax = 250;
/** Handlers that may be under way when the server is killed: the events' part of the gate. */
const inFlightMax = 24;

let dataDir: string;

beforeAll(() => {
  dataDir = mkdtempSync(join(tmpdir(), "picloud-crash-"));
});

afterAll(async () => {
  await dropStorage(dataDir);
  rmSync(dataDir, { recursive: true, force: true });
});

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

test(
  `${rounds} kills at random moments lose nothing (seed ${seed})`,
  async () => {
    const random = randomFrom(seed);
    const book = new OrderBook();
    for (let round = 0; round < rounds; round += 1) {
      await using server = await startServer({ dataDir });
      if (round === 0) await deployShop(server);
      const orders = startOrders(server, book);
      await orders.acknowledged(1);
      await Bun.sleep(random() * liveMsMax);
      await server.kill9();
      await orders.ended;
    }
    await using server = await startServer({ dataDir });
    const { acknowledged, lost, repeated, duplicates, ticks, dead } = await reconcile(server, book);
    expectWhole(dataDir);
    console.log(
      `${rounds} kills, seed ${seed}: ${acknowledged} acknowledged, ${lost.length} lost, ` +
        `${repeated.length} repeated, ${duplicates} attempts repeated, ${ticks} ticks`,
    );
    expect({ lost, repeated, dead, faults: book.faults }).toEqual({
      lost: [],
      repeated: [],
      dead: 0,
      faults: [],
    });
    expect(acknowledged).toBeGreaterThan(rounds);
    expect(ticks).toBeGreaterThan(0);
    expect(duplicates).toBeLessThanOrEqual(rounds * inFlightMax);
  },
  rounds * 8_000 + 120_000,
);
