/**
 * Executions that share a child and mean each other harm without breaking any limit: by what they hold
 * while they wait, and by coming back all the time.
 */
import { describe, expect, test } from "bun:test";
import {
  instancesPerChildMax,
  suspendedBytesLimit,
  suspendedBytesMax,
} from "../../src/domain/limits.ts";
import { Suspended } from "../../src/sandbox/suspended.ts";
import { type Done, handler, setup } from "./child-setup.ts";

const MEGABYTE = 1024 * 1024;
/** More than have an instance each, by so many that of 28 MB they hold more than may be held. */
const MANY = instancesPerChildMax + 6;
const GOOD = `import { kv } from "picloud";
export default async () => { await kv.collection("c").get("k"); return 1 }`;

/** How long `count` healthy executions of another app take, one after the other. */
async function neighbour(
  run: (source: string, options: { app: string }) => Promise<Done>,
  count = 20,
): Promise<number> {
  const from = performance.now();
  for (let index = 0; index < count; index += 1) {
    expect(await run(GOOD, { app: "good" })).toMatchObject({ status: "success", value: 1 });
  }
  return performance.now() - from;
}

describe("a neighbour is answered while an app's executions", () => {
  test("hold all the memory there is for waiting", async () => {
    const { run } = await setup();
    const source = handler(
      "const keep = new Uint8Array(28e6).fill(1); await new Promise((r) => setTimeout(r, 800)); return keep.length",
    );
    const evil = Array.from({ length: MANY }, () => run(source, { app: "evil" }));
    let over = 0;
    for (const done of evil) done.then(() => (over += 1));
    await neighbour(run, 5);
    expect(over).toBe(0);
    for (const done of await Promise.all(evil)) {
      expect(done).toMatchObject({ status: "success", value: 28e6 });
    }
  });

  test("grow after they have begun; the largest are ended", async () => {
    const { run } = await setup();
    const source = handler(
      `await new Promise((r) => setTimeout(r, 50)); const keep = new Uint8Array(28e6).fill(1);
       await new Promise((r) => setTimeout(r, 1_000)); return keep.length`,
    );
    const limits = { cpu_ms: 20_000 };
    const evil = Array.from({ length: MANY }, () => run(source, { app: "evil", limits }));
    await Bun.sleep(50);
    await neighbour(run);
    const ends = (await Promise.all(evil)).map((done) => done.budget ?? done.status);
    expect(ends).toContain("success");
    expect(ends).toContain("memory_mb");
    expect(new Set(ends).size).toBe(2);
  });

  test("compute between two host calls, within all their limits", async () => {
    const { run } = await setup();
    const source = `import { kv } from "picloud"; export default async () => {
      for (let n = 0; n < 8; n++) {
        const end = Date.now() + 20; while (Date.now() < end);
        await kv.collection("c").get("k");
      }
      return 1 }`;
    const evil = Array.from({ length: 12 }, () => run(source, { app: "evil" }));
    // At each of its steps it waits for one piece of 20 ms, and not for all that are due.
    expect(await neighbour(run, 5)).toBeLessThan(5 * 3 * 40);
    for (const done of await Promise.all(evil)) expect(done.status).toBe("success");
  });

  test("come back every millisecond", async () => {
    const { run } = await setup();
    const source = handler(
      "const end = Date.now() + 1_000; while (Date.now() < end) await new Promise((r) => setTimeout(r, 1)); return 1",
    );
    const evil = Array.from({ length: MANY }, () => run(source, { app: "evil" }));
    await Bun.sleep(50);
    expect(await neighbour(run)).toBeLessThan(1_000);
    for (const done of await Promise.all(evil)) expect(done.status).toBe("success");
  });

  test("call the host without a pause", async () => {
    const { run } = await setup();
    const source = `import { kv } from "picloud"; export default async () => {
      const end = Date.now() + 1_000; while (Date.now() < end) await kv.collection("c").get("k"); return 1 }`;
    const limits = { host_calls: 1_000_000 };
    const evil = Array.from({ length: MANY }, () => run(source, { app: "evil", limits }));
    await Bun.sleep(50);
    expect(await neighbour(run)).toBeLessThan(1_000);
    for (const done of await Promise.all(evil)) expect(done.status).toBe("success");
  });
});

test("memory that is put in and out is paid for as CPU", async () => {
  const { run } = await setup();
  const source = handler(
    `const keep = new Uint8Array(28e6).fill(1); for (let n = 0; n < 8; n++) await new Promise((r) => setTimeout(r, 1));
     return keep.length`,
  );
  const limits = { cpu_ms: 20_000, timeout_ms: 30_000 };
  const cpuMsOf = (ends: Done[]): number => ends.reduce((sum, { cpu_ms }) => sum + cpu_ms, 0);
  await run(source, { limits });
  const alone: Done[] = [];
  for (let index = 0; index < 3; index += 1) alone.push(await run(source, { limits }));
  const together = await Promise.all(
    Array.from({ length: MANY - 3 }, () => run(source, { limits })),
  );
  for (const done of together) expect(done.status).toBe("success");
  const each = (ends: Done[]): number => cpuMsOf(ends) / ends.length;
  expect(each(together)).toBeGreaterThan(2 * each(alone));
});

describe("the memory of waiting executions", () => {
  test("keeps an app that holds much from beginning more, and no other", () => {
    const suspended = new Suspended();
    suspended.add("large", suspendedBytesMax);
    expect(suspended.admits("large")).toBe(true);
    suspended.add("large", 1);
    expect(suspended.admits("large")).toBe(false);
    expect(suspended.admits("small")).toBe(true);
    suspended.remove("large", 1);
    expect(suspended.admits("large")).toBe(true);
  });

  test("is above its limit the matter of the app that holds most", () => {
    const suspended = new Suspended();
    suspended.add("some", 10 * MEGABYTE);
    suspended.add("most", suspendedBytesLimit - 10 * MEGABYTE);
    expect(suspended.excess).toBeNull();
    suspended.add("some", 1);
    expect(suspended.excess).toBe("most");
    suspended.remove("most", suspendedBytesLimit - 10 * MEGABYTE);
    expect(suspended.excess).toBeNull();
  });

  test("lies in buffers that are used again, a bounded number of them", () => {
    const suspended = new Suspended();
    const first = suspended.take(300_000);
    expect(first.length).toBe(300_000);
    suspended.give(first);
    const second = suspended.take(310_000);
    expect(second.length).toBe(310_000);
    expect(second.buffer).toBe(first.buffer);
    const large = suspended.take(32 * MEGABYTE);
    suspended.give(large);
    expect(suspended.take(32 * MEGABYTE).buffer).not.toBe(large.buffer);
  });
});
