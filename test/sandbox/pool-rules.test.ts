/** The pool's rules that need no process: who goes where, who waits, who is kept apart. */
import { describe, expect, test } from "bun:test";
import { LIMIT_DEFAULTS, penaltyAppsMax, penaltyMs } from "../../src/domain/limits.ts";
import type { Outcome } from "../../src/sandbox/api.ts";
import { Penalties } from "../../src/sandbox/penalty.ts";
import { choosePlace, type Placeable } from "../../src/sandbox/placement.ts";
import { mainThreadCpuMs, privateBytes } from "../../src/sandbox/procfs.ts";
import { FairQueue } from "../../src/sandbox/queue.ts";
import { Share, Shares } from "../../src/sandbox/share.ts";
import { Task } from "../../src/sandbox/task.ts";

function place(name: string, options: Partial<Omit<Placeable, "holds">> & { has?: string[] } = {}) {
  const { has = [], ...rest } = options;
  return {
    name,
    role: "regular",
    open: true,
    blocked: false,
    load: 0,
    holds: (id: string) => has.includes(id),
    ...rest,
  };
}

function taskOf(app_id: string, share = new Share()): Task {
  const job = {
    cx: { app_id, script_id: "s", execution_id: "e", delivery: null, seen: { seq: 0 } },
    program_id: "p",
    loadProgram: () => Promise.reject(new Error("not here")),
    input: "{}",
    limits: LIMIT_DEFAULTS,
    deadline: 1_000,
  };
  return new Task(
    job,
    share,
    () => {},
    () => {},
  );
}

function ended(cpu_ms: number, with_: Partial<Outcome> = {}): Outcome {
  return { ...taskOf("a").outcome("timeout"), status: "success", cpu_ms, ...with_ };
}

describe("a place", () => {
  test("is the child that holds the image, unless another has much less to do", () => {
    const holder = place("holder", { has: ["p"], load: 8 });
    const free = place("free");
    expect(choosePlace([free, holder], "p", false)?.name).toBe("holder");
    expect(choosePlace([free, place("holder", { has: ["p"], load: 9 })], "p", false)?.name).toBe(
      "free",
    );
    expect(choosePlace([place("busy", { load: 2 }), free], "other", false)?.name).toBe("free");
  });

  test("is the spare only when every regular child is blocked or full", () => {
    const spare = place("spare", { role: "spare" });
    expect(choosePlace([place("a", { load: 60 }), spare], "p", false)?.name).toBe("a");
    expect(choosePlace([place("a", { blocked: true }), spare], "p", false)?.name).toBe("spare");
    expect(choosePlace([place("a", { open: false }), spare], "p", false)?.name).toBe("spare");
    expect(choosePlace([place("a", { blocked: true })], "p", false)).toBeNull();
  });

  test("is never the box or a child that retires", () => {
    expect(
      choosePlace([place("a", { role: "box" }), place("b", { role: "retiring" })], "p", false),
    ).toBeNull();
  });

  test("for an app that keeps a child busy is another one only while a spare is left", () => {
    const spare = place("spare", { role: "spare" });
    const blocked = place("blocked", { blocked: true });
    expect(choosePlace([blocked, spare], "p", true)).toBeNull();
    expect(choosePlace([blocked, place("b")], "p", true)).toBeNull();
    expect(choosePlace([blocked, place("b"), spare], "p", true)?.name).toBe("b");
  });
});

describe("the queue", () => {
  test("serves apps in turns, each in order", () => {
    const queue = new FairQueue();
    const tasks = ["a", "a", "a", "b", "c", "b"].map((app) => taskOf(app));
    for (const task of tasks) queue.add(task);
    const served: number[] = [];
    queue.serve((task) => served.push(tasks.indexOf(task)) > 0);
    expect(served).toEqual([0, 3, 4, 1, 5, 2]);
    expect(queue.size).toBe(0);
  });

  test("passes over an app that is not accepted", () => {
    const queue = new FairQueue();
    for (const app of ["a", "b", "a", "b"]) queue.add(taskOf(app));
    const served: string[] = [];
    queue.serve((task) => task.job.cx.app_id === "b" && served.push("b") > 0);
    expect(served).toEqual(["b", "b"]);
    expect([queue.size, queue.hasApp("a"), queue.hasApp("b")]).toEqual([2, true, false]);
  });

  test("drops what is over", () => {
    const queue = new FairQueue();
    for (const app of ["a", "b", "a"]) queue.add(taskOf(app));
    queue.sweep((task) => task.job.cx.app_id === "a");
    expect([queue.size, queue.hasApp("a")]).toEqual([1, false]);
  });
});

describe("an app's share", () => {
  test("is dozens of cheap executions and one expensive one", () => {
    const cheap = new Share();
    for (let count = 0; count < 20; count += 1) cheap.learn(ended(0.05), 0);
    const tasks = Array.from({ length: 63 }, () => taskOf("a", cheap));
    for (const task of tasks) task.sent(0);
    expect(cheap.allows(1)).toBe(true);
    const expensive = new Share();
    for (let count = 0; count < 20; count += 1) expensive.learn(ended(40), 0);
    expect(expensive.allows(1)).toBe(true);
    const task = taskOf("a", expensive);
    task.sent(0);
    expect(expensive.allows(1)).toBe(false);
    expect(expensive.allows(2)).toBe(true);
    task.waits();
    task.waits();
    expect(expensive.ahead).toBe(0);
  });

  test("is used up by failures that cost much, and forgiven with time", () => {
    const bomb = { status: "budget_exceeded", budget: "memory_mb" } as const;
    const fast = new Share();
    const slow = new Share();
    let kept = 0;
    for (let count = 0; count < 20; count += 1) {
      if (fast.learn(ended(30, bomb), count * 10)) kept += 1;
      expect(slow.learn(ended(30, bomb), count * 1_000)).toBe(false);
    }
    expect(kept).toBe(2);
    expect(slow.learn(ended(1_000, { status: "budget_exceeded", budget: "cpu_ms" }), 0)).toBe(true);
    expect(new Share().learn(ended(10_000), 0)).toBe(false);
  });

  test("is remembered for a bounded number of apps", () => {
    const shares = new Shares();
    const first = shares.of("app-0");
    for (let count = 1; count < 5_000; count += 1) shares.of(`app-${count}`);
    expect(shares.of("app-0")).not.toBe(first);
  });
});

describe("penalties", () => {
  test("end after their time and begin anew with each offence", () => {
    const penalties = new Penalties();
    penalties.punish("a", 0);
    expect(penalties.holds("a", penaltyMs - 1)).toBe(true);
    penalties.punish("a", 1_000);
    expect(penalties.holds("a", penaltyMs)).toBe(true);
    expect(penalties.holds("a", penaltyMs + 1_000)).toBe(false);
    expect(penalties.holds("b", 0)).toBe(false);
  });

  test("hold a bounded number of apps; the soonest to be let out makes room", () => {
    const penalties = new Penalties();
    for (let count = 0; count <= penaltyAppsMax; count += 1)
      penalties.punish(`app-${count}`, count);
    expect(penalties.holds("app-0", 1)).toBe(false);
    expect(penalties.holds("app-1", 1)).toBe(true);
  });
});

test("the system tells the memory and CPU of a process, and nothing of one that is gone", () => {
  expect(privateBytes(process.pid)).toBeGreaterThan(1_000_000);
  const before = mainThreadCpuMs(process.pid) ?? 0;
  const busy = process.cpuUsage();
  while (process.cpuUsage(busy).user < 60_000);
  expect((mainThreadCpuMs(process.pid) ?? 0) - before).toBeGreaterThan(20);
  expect([privateBytes(2 ** 30), mainThreadCpuMs(2 ** 30)]).toEqual([null, null]);
});
