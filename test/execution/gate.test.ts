import { describe, expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import { Gate, type GateClass } from "../../src/execution/gate.ts";
import { FakeTime, settled } from "./fakes.ts";

function setup(options: { running?: number; waiting?: number; waitMsMax?: number } = {}) {
  const time = new FakeTime();
  const gate = new Gate({ clock: time, startTimer: time.startTimer, ...options });
  const order: string[] = [];
  const refusals: { name: string; error: unknown }[] = [];
  /** Enters under a name; the names of those who got in are in `order`. */
  const enter = (
    app: string,
    name = app,
    gateClass: GateClass = "request",
    signal: AbortSignal | null = null,
  ): void => {
    const admission = gate.acquire(app, gateClass, signal);
    if (admission === null) order.push(name);
    else
      admission.then(
        () => order.push(name),
        (error) => refusals.push({ name, error }),
      );
  };
  return { time, gate, enter, order, refusals };
}

function codeOf(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error instanceof PicError ? error.code : error;
  }
  return null;
}

describe("bounds", () => {
  test("a free slot is given at once, without a promise or a timer", () => {
    const { gate, time } = setup();
    expect(gate.acquire("a", "request", null)).toBeNull();
    expect(time.timers).toBe(0);
    expect(gate.stats()).toEqual({ running: 1, waiting: 0, refused: 0 });
  });

  test("an app holds at most half of the slots, and the other half stays free for others", () => {
    const { enter, order, gate } = setup({ running: 8 });
    for (let i = 0; i < 6; i += 1) enter("a");
    expect(order).toEqual(["a", "a", "a", "a"]);
    enter("b");
    enter("b");
    expect(order.filter((app) => app === "b")).toHaveLength(2);
    expect(gate.stats().waiting).toBe(2);
  });

  test("requests leave a quarter of the slots to events, and events to requests", () => {
    const asRequest = setup({ running: 8 });
    for (const app of ["a", "b", "c", "d"]) {
      asRequest.enter(app);
      asRequest.enter(app);
    }
    expect(asRequest.order).toHaveLength(6);
    expect(asRequest.gate.free("request")).toBe(0);
    expect(asRequest.gate.free("event")).toBe(2);
    asRequest.enter("a", "event", "event");
    expect(asRequest.order).toHaveLength(7);

    const asEvent = setup({ running: 8 });
    for (const app of ["a", "b", "c", "d"]) {
      asEvent.enter(app, app, "event");
      asEvent.enter(app, app, "event");
    }
    expect(asEvent.order).toHaveLength(6);
    asEvent.enter("a", "request");
    expect(asEvent.order).toHaveLength(7);
  });

  test("one slot is enough for everybody, in turn", async () => {
    const { enter, order, gate } = setup({ running: 1 });
    enter("a", "request");
    enter("b", "event", "event");
    expect(order).toEqual(["request"]);
    gate.leave("a", "request");
    await settled();
    expect(order).toEqual(["request", "event"]);
  });

  test("a full line refuses at once and says when to come again", () => {
    const { enter, gate } = setup({ running: 2, waiting: 4 });
    for (const app of ["a", "b", "a", "b", "c", "d"]) enter(app);
    expect(gate.stats().waiting).toBe(4);
    let refusal: unknown = null;
    try {
      gate.acquire("e", "request", null);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toBeInstanceOf(PicError);
    expect((refusal as PicError).code).toBe("overloaded");
    expect((refusal as PicError).details.retry_after_s).toBeGreaterThan(0);
    expect(gate.stats().refused).toBe(1);
  });

  test("an app takes at most half of the line", () => {
    const { enter, gate } = setup({ running: 2, waiting: 4 });
    for (let i = 0; i < 3; i += 1) enter("a");
    expect(codeOf(() => gate.acquire("a", "request", null))).toBe("overloaded");
    enter("b");
    enter("b");
    enter("b");
    expect(gate.stats()).toEqual({ running: 2, waiting: 4, refused: 1 });
  });

  test("leaving without having entered is a defect", () => {
    const { gate } = setup();
    expect(() => gate.leave("a", "request")).toThrow("not entered");
    gate.acquire("a", "request", null);
    expect(() => gate.leave("b", "request")).toThrow("not entered");
    expect(() => gate.leave("a", "event")).toThrow("not entered");
  });

  test("no number of apps makes it remember more than a bounded number of them", () => {
    const { gate } = setup();
    for (let i = 0; i < 5_000; i += 1) {
      gate.acquire(`app-${i}`, "request", null);
      gate.leave(`app-${i}`, "request");
    }
    expect(gate.stats().running).toBe(0);
    expect(gate.free("request")).toBe(24);
  });
});

describe("fairness", () => {
  test("waiters are served round robin by app, each app's in order", async () => {
    const { enter, order, gate } = setup({ running: 2 });
    enter("x");
    enter("y");
    for (let i = 0; i < 3; i += 1) enter("a", `a${i}`);
    enter("b", "b0");
    enter("c", "c0");
    enter("c", "c1");
    order.length = 0;
    gate.leave("x", "request");
    await settled();
    gate.leave("y", "request");
    await settled();
    let left = 0;
    while (order.length < 6) {
      gate.leave((order[left] as string)[0] as string, "request");
      left += 1;
      await settled();
    }
    expect(order).toEqual(["a0", "b0", "c0", "a1", "c1", "a2"]);
  });

  test("a flood of one app delays another app's request by one turn, not by the flood", async () => {
    const { enter, order, gate } = setup({ running: 4 });
    for (let i = 0; i < 2; i += 1) enter("other");
    for (let i = 0; i < 60; i += 1) enter("flood");
    enter("quiet");
    expect(order).toEqual(["other", "other", "flood"]);
    gate.leave("other", "request");
    gate.leave("other", "request");
    await settled();
    expect(order.slice(3)).toEqual(["flood", "quiet"]);
  });

  test("an app at its bound keeps its place; the next app that may run is served", async () => {
    const { enter, order, gate } = setup({ running: 8 });
    for (let i = 0; i < 4; i += 1) enter("a");
    for (let i = 0; i < 2; i += 1) enter("b");
    enter("a", "a-waits");
    enter("c", "c-waits");
    gate.leave("b", "request");
    await settled();
    expect(order.at(-1)).toBe("c-waits");
    gate.leave("a", "request");
    await settled();
    expect(order.at(-1)).toBe("a-waits");
  });

  test("a newcomer does not overtake a waiter for the same slot", async () => {
    const { enter, order, gate } = setup({ running: 2 });
    enter("a");
    enter("b");
    enter("c", "first");
    gate.leave("a", "request");
    enter("d", "second");
    await settled();
    expect(order).toEqual(["a", "b", "first"]);
    expect(gate.stats().waiting).toBe(1);
  });

  test("a freed slot goes to the class that is below its part", async () => {
    const { enter, order, gate } = setup({ running: 4 });
    // three requests is what requests may hold; one event holds the quarter
    for (const app of ["a", "b", "c"]) enter(app);
    enter("e", "event-1", "event");
    enter("d", "request-waits");
    enter("f", "event-waits", "event");
    gate.leave("e", "event");
    await settled();
    expect(order.at(-1)).toBe("event-waits");
    gate.leave("a", "request");
    await settled();
    expect(order.at(-1)).toBe("request-waits");
  });
});

describe("waiting", () => {
  test("ends with a refusal after its bound, and the timer is gone with the last waiter", async () => {
    const { enter, refusals, time, gate } = setup({ running: 1, waitMsMax: 2_000 });
    enter("a");
    enter("b", "early");
    time.advance(500);
    enter("c", "late");
    expect(time.timers).toBe(1);
    time.advance(1_499);
    await settled();
    expect(refusals).toEqual([]);
    time.advance(1);
    await settled();
    expect(refusals.map(({ name }) => name)).toEqual(["early"]);
    expect(time.timers).toBe(1);
    time.advance(500);
    await settled();
    expect(refusals.map(({ name }) => name)).toEqual(["early", "late"]);
    expect(refusals[0]?.error).toMatchObject({ code: "overloaded" });
    expect(time.timers).toBe(0);
    expect(gate.stats()).toEqual({ running: 1, waiting: 0, refused: 2 });
  });

  test("leaves no timer behind when all waiters got in", async () => {
    const { enter, order, time, gate } = setup({ running: 1 });
    enter("a");
    enter("b");
    expect(time.timers).toBe(1);
    gate.leave("a", "request");
    await settled();
    expect(order).toEqual(["a", "b"]);
    expect(time.timers).toBe(0);
  });

  test("ends when the caller leaves; the slot goes to the next", async () => {
    const { enter, order, refusals, gate, time } = setup({ running: 1 });
    const caller = new AbortController();
    enter("a");
    enter("b", "leaves", "request", caller.signal);
    enter("c", "stays");
    caller.abort();
    gate.leave("a", "request");
    await settled();
    expect(refusals.map(({ name }) => name)).toEqual(["leaves"]);
    expect(order).toEqual(["a", "stays"]);
    expect(time.timers).toBe(0);
  });

  test("whoever has left holds no place in a full line", async () => {
    const { enter, order, refusals, gate } = setup({ running: 1, waiting: 4 });
    const callers = [new AbortController(), new AbortController()];
    enter("a");
    for (const caller of callers) enter("b", "leaves", "request", caller.signal);
    expect(codeOf(() => gate.acquire("b", "request", null))).toBe("overloaded");
    callers[1]?.abort();
    enter("b", "stays");
    await settled();
    expect(refusals.map(({ name }) => name)).toEqual(["leaves"]);
    expect(gate.stats()).toEqual({ running: 1, waiting: 2, refused: 1 });
    callers[0]?.abort();
    gate.leave("a", "request");
    await settled();
    expect(order).toEqual(["a", "stays"]);
  });

  test("does not begin for a caller who has left already", () => {
    const { enter, gate, time } = setup({ running: 1 });
    enter("a");
    expect(codeOf(() => gate.acquire("b", "request", AbortSignal.abort()))).toBe("overloaded");
    expect(time.timers).toBe(0);
  });

  test("a caller who leaves after being let in changes nothing", async () => {
    const { enter, order, gate } = setup({ running: 1 });
    const caller = new AbortController();
    enter("a");
    enter("b", "b", "request", caller.signal);
    gate.leave("a", "request");
    await settled();
    caller.abort();
    expect(order).toEqual(["a", "b"]);
    expect(gate.stats().running).toBe(1);
    gate.leave("b", "request");
    expect(gate.stats().running).toBe(0);
  });
});

test("under a random storm the bounds hold and every slot comes back", async () => {
  const { gate, time } = setup({ running: 8, waiting: 16, waitMsMax: 50 });
  let state = 42;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
  const inside: { app: string; gateClass: GateClass }[] = [];
  const check = (): void => {
    expect(inside.length).toBeLessThanOrEqual(8);
    for (const app of ["a", "b", "c"]) {
      expect(inside.filter((one) => one.app === app).length).toBeLessThanOrEqual(4);
    }
    for (const gateClass of ["request", "event"]) {
      expect(inside.filter((one) => one.gateClass === gateClass).length).toBeLessThanOrEqual(6);
    }
  };
  for (let step = 0; step < 2_000; step += 1) {
    const app = ["a", "b", "c"][random(3)] as string;
    const gateClass: GateClass = random(3) === 0 ? "event" : "request";
    if (random(2) === 0) {
      const caller = random(4) === 0 ? new AbortController() : null;
      try {
        const admission = gate.acquire(app, gateClass, caller?.signal ?? null);
        if (admission === null) inside.push({ app, gateClass });
        else admission.then(() => inside.push({ app, gateClass })).catch(() => {});
      } catch {}
      if (random(2) === 0) caller?.abort();
    } else {
      const [one] = inside.splice(random(Math.max(1, inside.length)), 1);
      if (one !== undefined) gate.leave(one.app, one.gateClass);
    }
    if (random(10) === 0) time.advance(20);
    await Promise.resolve();
    await Promise.resolve();
    await Promise.resolve();
    check();
  }
  time.advance(1_000);
  await settled();
  while (inside.length > 0) {
    const one = inside.pop() as (typeof inside)[number];
    gate.leave(one.app, one.gateClass);
  }
  expect(gate.stats()).toMatchObject({ running: 0, waiting: 0 });
  expect(time.timers).toBe(0);
});

describe("who claims work for the gate", () => {
  test("knows what an app may still take, and what a class and an app can hold at most", () => {
    const { gate } = setup({ running: 8 });
    expect(gate.most()).toEqual({ class: 6, app: 4 });
    expect(gate.freeFor("a")).toBe(4);
    gate.acquire("a", "request", null);
    gate.acquire("a", "event", null);
    gate.acquire("b", "event", null);
    expect(gate.freeFor("a")).toBe(2);
    expect(gate.free("event")).toBe(4);
  });

  test("is told once of the next slot that is left for it, after waiters had their turn", () => {
    const { gate, enter, order } = setup({ running: 1 });
    const told: number[] = [];
    const tell = (): void => void told.push(gate.free("event"));
    enter("a");
    enter("b");
    gate.whenLeft(() => told.push(-1));
    gate.whenLeft(tell);
    expect(told).toEqual([]);
    gate.leave("a", "request");
    // The slot went to "b", who waited: nothing is left for an event.
    expect(told).toEqual([]);
    gate.whenLeft(() => {
      tell();
      gate.whenLeft(tell);
    });
    return settled().then(() => {
      expect(order).toEqual(["a", "b"]);
      gate.leave("b", "request");
      expect(told).toEqual([1]);
      enter("c");
      gate.leave("c", "request");
      expect(told).toEqual([1, 1]);
    });
  });
});
