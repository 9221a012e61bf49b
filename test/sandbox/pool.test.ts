import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Binding, BindingContext } from "../../src/domain/bindings.ts";
import { PicError } from "../../src/domain/errors.ts";
import { killGraceMs, LIMIT_DEFAULTS, type ScriptLimits } from "../../src/domain/limits.ts";
import type { Job, Outcome, SandboxPool } from "../../src/sandbox/api.ts";
import { sweepCells } from "../../src/sandbox/cell.ts";
import { createSandboxPool, type SandboxPoolOptions } from "../../src/sandbox/pool.ts";
import { mainThreadCpuMs } from "../../src/sandbox/procfs.ts";
import type { Step } from "./pool-child.ts";

const FAKE_CHILD = join(import.meta.dir, "pool-child.ts");
/** What a busy machine may add to a bound. */
const SLACK_MS = 400;

const pools: SandboxPool[] = [];

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.stop()));
});

interface Bundle {
  pool: SandboxPool;
  /** Runs steps as an app; what the outcome's body says comes back parsed. */
  run: (
    steps: Step[],
    options?: RunOptions,
  ) => Promise<Outcome & { value: unknown; tookMs: number }>;
  calls: { name: string; cx: BindingContext; args: unknown }[];
}

interface RunOptions {
  app?: string;
  program?: string;
  limits?: Partial<ScriptLimits>;
  value?: unknown;
  loadProgram?: Job["loadProgram"];
}

/** A pool of fake children. `mode` tells them how to start. */
async function setup(
  options: Partial<SandboxPoolOptions> & { mode?: string } = {},
): Promise<Bundle> {
  const calls: Bundle["calls"] = [];
  const note = (name: string, effect: boolean, work: (args: unknown) => Promise<unknown>) => ({
    effect,
    call: async (cx: BindingContext, args: unknown) => {
      calls.push({ name, cx, args });
      return await work(args);
    },
  });
  const store: Binding = {
    name: "store",
    methods: {
      read: note("read", false, async (args) => ({ args })),
      write: note("write", true, async () => "written"),
      slow: note("slow", false, (args) => Bun.sleep(Number(args)).then(() => "late")),
      refuse: note("refuse", false, async () => {
        throw new PicError("kv_invalid_key", "a bad key");
      }),
      fail: note("fail", false, async () => {
        throw new Error("the password is hunter2");
      }),
    },
  };
  const pool = createSandboxPool({
    children: 1,
    bindings: [store],
    image_cache_mb: 8,
    command: [process.execPath, FAKE_CHILD, options.mode ?? "good"],
    clock: systemClock,
    log: silentLogger,
    ...options,
  });
  pools.push(pool);
  let executions = 0;
  const run: Bundle["run"] = async (steps, with_ = {}) => {
    executions += 1;
    const limits = { ...LIMIT_DEFAULTS, cpu_ms: 100, timeout_ms: 3_000, ...with_.limits };
    const program_id = with_.program ?? "program";
    const from = performance.now();
    const outcome = await pool.run({
      cx: {
        app_id: with_.app ?? "app",
        script_id: "script",
        execution_id: `execution-${executions}`,
        delivery: null,
        seen: { seq: 0 },
      },
      program_id,
      loadProgram:
        with_.loadProgram ??
        (async () => ({ id: program_id, app_id: "app", entry: "main", modules: { main: "" } })),
      input: JSON.stringify({ steps, value: with_.value ?? "hello" }),
      limits,
      deadline: systemClock.monotonic() + limits.timeout_ms,
    });
    const value = outcome.body === "" ? null : JSON.parse(outcome.body);
    return { ...outcome, value, tookMs: performance.now() - from };
  };
  return { pool, run, calls };
}

async function until(what: string, condition: () => boolean, msMax = 5_000): Promise<void> {
  const end = performance.now() + msMax;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${msMax} ms: ${what}`);
    await Bun.sleep(5);
  }
}

/** Running, not a zombie that some init has yet to reap. */
function alive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

describe("running", () => {
  test("a job comes back with what the child answered", async () => {
    const { run } = await setup();
    const outcome = await run([], { value: { n: 1 } });
    expect(outcome).toMatchObject({
      status: "success",
      status_code: 200,
      value: { n: 1 },
      entered: true,
    });
  });

  test("a program is loaded once, and again only for a child that lacks it", async () => {
    const { pool, run } = await setup();
    let loads = 0;
    const loadProgram = async () => {
      loads += 1;
      return { id: "one", app_id: "app", entry: "main", modules: {} };
    };
    const all = Array.from({ length: 10 }, () => run([], { program: "one", loadProgram }));
    for (const outcome of await Promise.all(all)) expect(outcome.status).toBe("success");
    expect(loads).toBe(1);
    pool.forget("one");
    expect((await run([], { program: "one", loadProgram })).status).toBe("success");
    expect(loads).toBe(2);
  });

  test("what loading throws is thrown by run, and the next run loads again", async () => {
    const { run } = await setup();
    const failing = run([], {
      loadProgram: async () => {
        throw new PicError("module_unavailable", "no module");
      },
    });
    await expect(failing).rejects.toMatchObject({ code: "module_unavailable" });
    expect((await run([])).status).toBe("success");
  });

  test("a program under a wrong name is refused", async () => {
    const { run } = await setup();
    const wrong = async () => ({ id: "other", app_id: "a", entry: "main", modules: {} });
    await expect(run([], { program: "mine", loadProgram: wrong })).rejects.toThrow(
      "other was loaded for mine",
    );
  });

  test("a program that is forgotten while it runs is dropped only afterwards", async () => {
    const { pool, run } = await setup();
    const running = [run([["sleep", 50]]), run([["sleep", 50]])];
    await until("both run", () => pool.stats().running === 2);
    pool.forget("program");
    for (const outcome of await Promise.all(running)) expect(outcome.status).toBe("success");
    expect((await run([])).status).toBe("success");
  });

  test("a program that a child has dropped by itself is sent again", async () => {
    const { run } = await setup();
    let loads = 0;
    const loadProgram = async () => {
      loads += 1;
      return { id: "program", app_id: "app", entry: "main", modules: {} };
    };
    expect((await run([["dropProgram"]], { loadProgram })).status).toBe("success");
    const again = await Promise.all([run([], { loadProgram }), run([], { loadProgram })]);
    for (const outcome of again) expect(outcome.status).toBe("success");
    expect(loads).toBe(2);
    await run([["dropProgram"]]);
    const gone = async () => {
      throw new PicError("module_unavailable", "gone");
    };
    await expect(run([], { loadProgram: gone })).rejects.toMatchObject({
      code: "module_unavailable",
    });
    expect((await run([])).status).toBe("success");
  });

  test("many apps at once each get their own answer", async () => {
    const { run } = await setup({ children: 2 });
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        run(index % 3 === 0 ? [["call", "store.read", index]] : [["sleep", index % 7]], {
          app: `app-${index % 20}`,
          program: `program-${index % 20}`,
          value: index,
        }),
      ),
    );
    outcomes.forEach((outcome, index) => {
      expect(outcome.status).toBe("success");
      expect(outcome.value).toEqual(index % 3 === 0 ? { args: index } : index);
    });
  });

  test("a second answer to one execution is dropped", async () => {
    const { run } = await setup();
    expect((await run([["answerTwice"]])).status).toBe("success");
    expect((await run([], { value: 2 })).value).toBe(2);
  });

  test("an input too long for a frame breaks the memory budget", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    const outcome = await run([], { value: "x".repeat(97 * 1024 * 1024) });
    expect(outcome).toMatchObject({ status: "budget_exceeded", budget: "memory_mb" });
    expect((await run([])).status).toBe("success");
  });
});

describe("host calls", () => {
  test("reach the binding with the execution's own context", async () => {
    const { run, calls } = await setup();
    const outcome = await run([["call", "store.read", { app_id: "other" }]], { app: "mine" });
    expect(outcome.value).toEqual({ args: { app_id: "other" } });
    expect(calls[0]?.cx.app_id).toBe("mine");
  });

  test("that are refused tell the script why; a defect tells it only an id", async () => {
    const { run } = await setup({ newId: () => "id-7" });
    expect((await run([["call", "store.refuse", 1]])).value).toEqual({
      name: "PicError",
      message: "a bad key",
      code: "kv_invalid_key",
    });
    const value = (await run([["call", "store.fail", 1]])).value;
    expect(value).toEqual({ name: "PicError", message: "Internal error (id-7)", code: "internal" });
  });

  test.each([
    "store.nothing",
    "store",
    "",
    "__proto__.toString",
    "store.constructor",
    "store.__proto__",
  ])("of an unknown name %p are answered with an error", async (name) => {
    const { run, calls } = await setup();
    expect((await run([["call", name, 1]])).value).toMatchObject({ code: "not_found" });
    expect(calls).toEqual([]);
  });

  test("above the budget never reach the binding", async () => {
    const { run, calls } = await setup();
    const steps = Array.from({ length: 5 }, (): Step => ["call", "store.read", 1]);
    const outcome = await run(steps, { limits: { host_calls: 3 } });
    expect(outcome.value).toMatchObject({ code: "host_call_budget" });
    expect(calls.length).toBe(3);
  });

  test("of one execution run a few at a time, and all before its answer leaves", async () => {
    let most = 0;
    let now = 0;
    const busy: Binding = {
      name: "busy",
      methods: {
        wait: {
          effect: true,
          call: async () => {
            now += 1;
            most = Math.max(most, now);
            await Bun.sleep(2);
            now -= 1;
          },
        },
      },
    };
    const { run } = await setup({ bindings: [busy] });
    const outcome = await run(
      Array.from({ length: 100 }, (): Step => ["callAway", "busy.wait", 1]),
    );
    expect(outcome.status).toBe("success");
    expect(now).toBe(0);
    expect(most).toBe(16);
  });

  test("whose execution is over are answered to nobody", async () => {
    const { run } = await setup();
    const late = await run([["call", "store.slow", 200]], { limits: { timeout_ms: 50 } });
    expect(late.status).toBe("timeout");
    expect(
      (
        await run([
          ["call", "store.read", 1],
          ["sleep", 250],
        ])
      ).value,
    ).toEqual({ args: 1 });
  });
});

describe("limits from outside", () => {
  test("an execution that waits past its deadline is cancelled and nobody is killed", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    const [late, healthy] = await Promise.all([
      run([["waitCancel"]], { limits: { timeout_ms: 100 } }),
      run([["sleep", 200]], { app: "healthy" }),
    ]);
    expect(late.status).toBe("timeout");
    expect(late.tookMs).toBeLessThan(100 + SLACK_MS);
    expect(healthy.status).toBe("success");
    expect(pool.stats().killed).toBe(0);
  });

  test("one that ignores its cancel while it runs no code ends alone", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    const late = await run([["deaf"]], { limits: { timeout_ms: 50 } });
    expect(late.status).toBe("timeout");
    expect(late.tookMs).toBeLessThan(50 + killGraceMs + SLACK_MS);
    expect(pool.stats().killed).toBe(0);
    expect((await run([])).status).toBe("success");
  });

  test("code that runs past its CPU limit is killed with budget_exceeded", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    const outcome = await run([["hang"]]);
    expect(outcome).toMatchObject({ status: "budget_exceeded", budget: "cpu_ms", entered: true });
    expect(outcome.tookMs).toBeGreaterThan(100 + killGraceMs - 30);
    expect(pool.stats().killed).toBe(1);
  });

  test("code that runs past its deadline is killed with timeout", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    const outcome = await run([["hang"]], { limits: { cpu_ms: 10_000, timeout_ms: 100 } });
    expect(outcome.status).toBe("timeout");
    expect(outcome.tookMs).toBeLessThan(100 + killGraceMs + SLACK_MS);
    expect(pool.stats().killed).toBe(1);
  });

  test("time in which the machine did not let it run is no CPU", async () => {
    const { pool, run } = await setup();
    const { pid } = (await run([["pid"]])).value as { pid: number };
    const before = mainThreadCpuMs(pid) ?? 0;
    const spun = run([["spin", 90]], { limits: { cpu_ms: 100 } });
    await until("it runs", () => (mainThreadCpuMs(pid) ?? 0) >= before + 20);
    process.kill(pid, "SIGSTOP");
    // Long over every bound of the limit, and still before its deadline.
    await Bun.sleep(1_500);
    process.kill(pid, "SIGCONT");
    expect(await spun).toMatchObject({ status: "success" });
    expect(pool.stats().killed).toBe(0);
  });

  test("CPU of earlier entries counts", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    const outcome = await run(
      [
        ["spin", 300],
        ["call", "store.read", 1],
        ["spin", 1_000],
      ],
      {
        limits: { cpu_ms: 200 },
      },
    );
    expect(outcome).toMatchObject({ status: "budget_exceeded", budget: "cpu_ms" });
    expect(outcome.tookMs).toBeLessThan(1_000);
  });

  test("three attacks cost exactly three kills and no neighbour", async () => {
    const { pool, run } = await setup({ children: 2 });
    await pool.ready();
    let failed = 0;
    let served = 0;
    let attacking = true;
    const neighbour = async (name: string): Promise<void> => {
      while (attacking) {
        const outcome = await run([["call", "store.read", 1]], { app: name, program: name });
        if (outcome.status !== "success") failed += 1;
        served += 1;
        await Bun.sleep(2);
      }
    };
    const neighbours = ["n1", "n2", "n3", "n4"].map(neighbour);
    for (let attack = 0; attack < 3; attack += 1) {
      expect((await run([["hang"]], { app: "attacker" })).budget).toBe("cpu_ms");
    }
    attacking = false;
    await Promise.all(neighbours);
    expect({ failed, killed: pool.stats().killed }).toEqual({ failed: 0, killed: 3 });
    expect(served).toBeGreaterThan(100);
  });
});

describe("a lost child", () => {
  test("is blamed on who ran; others without effects run again, the rest are lost", async () => {
    const { pool, run, calls } = await setup();
    await pool.ready();
    const reader = run(
      [
        ["call", "store.read", 1],
        ["sleep", 300],
      ],
      { app: "reader" },
    );
    const writer = run(
      [
        ["call", "store.write", 1],
        ["sleep", 300],
      ],
      { app: "writer" },
    );
    await until("both have called", () => calls.length === 2);
    const culprit = await run([["crash", 1]], { app: "culprit" });
    expect(culprit).toMatchObject({ status: "sandbox_lost", entered: true });
    expect((await writer).status).toBe("sandbox_lost");
    expect((await reader).status).toBe("success");
    const reads = calls.filter((call) => call.name === "read");
    expect(reads.length).toBe(2);
    expect(reads[0]?.cx.execution_id).toBe(reads[1]?.cx.execution_id as string);
  });

  test("that the system killed while nothing ran costs nobody anything", async () => {
    const { pool, run } = await setup();
    const { pid } = (await run([["pid"]])).value as { pid: number };
    const waiting = run([["sleep", 100]]);
    await until("it runs", () => pool.stats().running === 1);
    process.kill(pid, "SIGKILL");
    expect((await waiting).status).toBe("success");
    expect(pool.stats().killed).toBe(0);
  });

  test("an execution is not run a third time", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    const victim = run([["sleep", 2_000]], { app: "victim" });
    expect((await run([["crash", 1]], { app: "a" })).status).toBe("sandbox_lost");
    await until("it runs again", () => pool.stats().running === 1);
    expect((await run([["crash", 1]], { app: "b" })).status).toBe("sandbox_lost");
    expect((await victim).status).toBe("sandbox_lost");
  });

  test("is replaced at once, however often guests bring it down", async () => {
    const { run } = await setup();
    for (let round = 0; round < 12; round += 1) {
      const outcome = await run([["crash", 1]], { app: `app-${round % 3}` });
      expect(outcome.status).toBe("sandbox_lost");
      expect(outcome.tookMs).toBeLessThan(1_500);
    }
  });

  test("that breaks the protocol is replaced", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    const neighbour = run([["sleep", 200]], { app: "neighbour" });
    expect((await run([["garbage"], ["sleep", 2_000]])).status).toBe("sandbox_lost");
    expect((await neighbour).status).toBe("success");
  });
});

describe("a blocked child", () => {
  test("loses what queues behind the running execution to the spare", async () => {
    const { pool, run } = await setup();
    await Promise.all(Array.from({ length: 20 }, () => run([])));
    await until("the spare is ready", () => pool.stats().children === 2);
    const blocker = run([["spin", 600]], { app: "blocker", limits: { cpu_ms: 2_000 } });
    const others = await Promise.all(
      Array.from({ length: 5 }, () => run([["call", "store.read", 1]], { app: "other" })),
    );
    for (const other of others) {
      expect(other.status).toBe("success");
      expect(other.tookMs).toBeLessThan(400);
    }
    expect((await blocker).status).toBe("success");
    expect(pool.stats().killed).toBe(0);
  });

  test("runs nothing twice whose effects somebody could see", async () => {
    const { pool, run, calls } = await setup();
    await Promise.all(Array.from({ length: 20 }, () => run([])));
    await until("the spare is ready", () => pool.stats().children === 2);
    const blocker = run([["spin", 300]], { app: "blocker", limits: { cpu_ms: 2_000 } });
    const other = await run([["call", "store.write", 1]], { app: "other" });
    expect(other.status).toBe("success");
    await blocker;
    await until("the first copy has ended", () => pool.stats().running === 0);
    await run([["sleep", 50]]);
    expect(calls.filter((call) => call.name === "write").length).toBe(1);
  });

  test("keeps its own app's work, so that one app cannot take the spare too", async () => {
    const { pool, run } = await setup();
    await Promise.all(Array.from({ length: 20 }, () => run([])));
    await until("the spare is ready", () => pool.stats().children === 2);
    const hogs = Array.from({ length: 4 }, () =>
      run([["spin", 150]], { app: "hog", limits: { cpu_ms: 2_000 } }),
    );
    await Bun.sleep(60);
    const other = await run([], { app: "other" });
    expect(other.tookMs).toBeLessThan(140);
    for (const hog of await Promise.all(hogs)) expect(hog.status).toBe("success");
  });
});

describe("neighbours", () => {
  test("do not queue behind all that an expensive app has sent", async () => {
    const { run } = await setup();
    const costly = { app: "costly", limits: { cpu_ms: 1_000 } };
    for (let count = 0; count < 8; count += 1) await run([["spin", 25]], costly);
    const many = Array.from({ length: 12 }, () => run([["spin", 25]], costly));
    const other = await run([], { app: "other" });
    expect(other.status).toBe("success");
    expect(other.tookMs).toBeLessThan(150);
    for (const outcome of await Promise.all(many)) expect(outcome.status).toBe("success");
  });

  test("that wait hold no place of their app", async () => {
    const { run } = await setup();
    const costly = { app: "costly", limits: { cpu_ms: 1_000 } };
    for (let count = 0; count < 8; count += 1) await run([["spin", 20]], costly);
    const from = performance.now();
    await Promise.all(
      Array.from({ length: 4 }, () =>
        run(
          [
            ["spin", 20],
            ["sleep", 400],
          ],
          costly,
        ),
      ),
    );
    expect(performance.now() - from).toBeLessThan(1_200);
  });
});

describe("the penalty box", () => {
  test("holds an attacker on a child of its own, and its healthy work still runs", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    await run([["hang"]], { app: "attacker" });
    const [mine, theirs] = await Promise.all([
      run([["pid"]], { app: "attacker" }),
      run([["pid"]], { app: "healthy" }),
    ]);
    expect(mine.status).toBe("success");
    expect((mine.value as { pid: number }).pid).not.toBe((theirs.value as { pid: number }).pid);
  });

  test("holds an app that uses up its CPU though its child survives", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    expect((await run([["loop"]], { app: "attacker" })).budget).toBe("cpu_ms");
    expect(pool.stats().killed).toBe(0);
    const mine = (await run([["pid"]], { app: "attacker" })).value as { pid: number };
    const theirs = (await run([["pid"]], { app: "healthy" })).value as { pid: number };
    expect(mine.pid).not.toBe(theirs.pid);
  });

  test("attackers from several apps all get their own verdict within bounded children", async () => {
    const { pool, run } = await setup();
    await pool.ready();
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, pool.stats().children);
    }, 2);
    const limits = { cpu_ms: 20, timeout_ms: 6_000 };
    const attacks = ["a", "b", "c", "a", "b", "c"].map((app) => run([["hang"]], { app, limits }));
    for (const outcome of await Promise.all(attacks)) {
      expect(["budget_exceeded", "sandbox_lost"]).toContain(outcome.status);
    }
    clearInterval(watch);
    expect(most).toBeLessThanOrEqual(3);
    expect((await run([], { app: "healthy" })).status).toBe("success");
  });
});

describe("children", () => {
  test("that fail to start do not hold a job longer than its deadline", async () => {
    const { run } = await setup({ mode: "die" });
    const outcome = await run([], { limits: { timeout_ms: 300 } });
    expect(outcome).toMatchObject({ status: "sandbox_lost", entered: false });
    expect(outcome.tookMs).toBeLessThan(300 + SLACK_MS);
  });

  test("that keep failing are given up after a bound", async () => {
    const { pool } = await setup({
      command: ["/nonexistent/picloud"],
      timings: { backoffMsMin: 5 },
    });
    expect(pool.stats()).toMatchObject({ children: 0, starting: 1 });
    await expect(pool.ready()).rejects.toMatchObject({ code: "unavailable" });
    await until("nothing starts any more", () => pool.stats().starting === 0);
    expect(pool.stats().children).toBe(0);
  }, 10_000);

  test("that never say ready are killed at their deadline", async () => {
    const lines: string[] = [];
    const log = { ...silentLogger, error: (message: string) => void lines.push(message) };
    const { pool } = await setup({ mode: "never-ready", log, timings: { readyMsMax: 200 } });
    pool.ready().catch(() => {});
    await until("it was given up", () => lines.length > 0, 8_000);
    expect(lines[0]).toBe("a sandbox child did not start");
  }, 10_000);

  test("that start slowly serve what waited", async () => {
    const { run } = await setup({ mode: "slow" });
    expect((await run([])).status).toBe("success");
  });

  test("whose memory has grown are replaced and no job is lost", async () => {
    const { pool, run } = await setup({ image_cache_mb: 0, timings: { memoryCheckMs: 50 } });
    const first = (await run([["pid"]])).value as { pid: number };
    const long = run([["grow", 150], ["sleep", 300], ["pid"]]);
    let failed = 0;
    await until(
      "it is replaced",
      () => {
        void run([]).then((outcome) => {
          if (outcome.status !== "success") failed += 1;
        });
        return !alive(first.pid);
      },
      12_000,
    );
    expect(await long).toMatchObject({ status: "success", value: { pid: first.pid } });
    expect((await run([])).status).toBe("success");
    expect(failed).toBe(0);
    expect(pool.stats().killed).toBe(0);
  }, 15_000);

  test("rest when nothing is left to do, and once more when the spare is let go", async () => {
    let rested = 0;
    const onRest = () => {
      rested += 1;
    };
    const { pool, run } = await setup({
      onRest,
      timings: { restAfterMs: 30, spareIdleMsMax: 100 },
    });
    await Promise.all(Array.from({ length: 20 }, () => run([])));
    await until("the spare is ready", () => pool.stats().children === 2);
    await until("it is gone", () => pool.stats().children === 1);
    await Bun.sleep(300);
    expect(rested).toBe(2);
    expect((await run([["pid"]])).value).toMatchObject({ rests: 2 });
  });

  test("that fail later are replaced, each time later, and served work counts as recovery", async () => {
    const { pool, run } = await setup({ timings: { backoffMsMin: 1 } });
    for (let round = 0; round < 10; round += 1) {
      const { pid } = (await run([["pid"]], { app: `app-${round}` })).value as { pid: number };
      process.kill(pid, "SIGKILL");
      await until("it is replaced", () => !alive(pid) && pool.stats().children >= 1);
    }
    expect((await run([])).status).toBe("success");
  });
});

describe("stopping", () => {
  test("ends running and waiting jobs, twice without harm, and leaves no process", async () => {
    const { pool, run } = await setup({ children: 2 });
    const { pid } = (await run([["pid"]])).value as { pid: number };
    const jobs = [run([["sleep", 5_000]]), run([["hang"]]), run([["call", "store.slow", 100]])];
    await until("they run", () => pool.stats().running === 3);
    await Promise.all([pool.stop(), pool.stop()]);
    for (const outcome of await Promise.all(jobs)) expect(outcome.status).toBe("sandbox_lost");
    expect(alive(pid)).toBe(false);
    await expect(run([])).rejects.toMatchObject({ code: "unavailable" });
    await pool.stop();
  });

  test("during the start leaves no process and no file", async () => {
    const before = childrenOf(process.pid);
    const { pool, run } = await setup({ children: 2 });
    const ready = pool.ready().catch((error) => error);
    const waiting = run([]);
    await pool.stop();
    expect(await ready).toMatchObject({ code: "unavailable" });
    expect((await waiting).status).toBe("sandbox_lost");
    expect(childrenOf(process.pid)).toEqual(before);
    const folder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    expect(
      readdirSync(folder).filter((name) => name.startsWith(`picloud-cell-${process.pid}-`)),
    ).toEqual([]);
  });
});

test("what a killed server left behind is swept, what another starts with is not", () => {
  const folder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  const stale = mkdtempSync(join(folder, "picloud-cell-1-"));
  const fresh = mkdtempSync(join(folder, "picloud-cell-2-"));
  try {
    utimesSync(stale, 1_000, 1_000);
    sweepCells();
    expect([existsSync(stale), existsSync(fresh)]).toEqual([false, true]);
  } finally {
    rmSync(stale, { recursive: true, force: true });
    rmSync(fresh, { recursive: true, force: true });
  }
});

test("children end with a server that is killed, even one in an endless loop", async () => {
  const parent = Bun.spawn([process.execPath, join(import.meta.dir, "pool-parent.ts")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const { value } = await parent.stdout.getReader().read();
    const pids: number[] = JSON.parse(new TextDecoder().decode(value));
    expect(pids.length).toBe(2);
    await until("one of them loops", () => pids.some((pid) => isRunning(pid)));
    for (const pid of pids) expect(alive(pid)).toBe(true);
    parent.kill("SIGKILL");
    await until("they have ended", () => !pids.some(alive), 2_000);
  } finally {
    parent.kill("SIGKILL");
  }
});

/** It is on a processor, not waiting for anything. */
function isRunning(pid: number): boolean {
  return /^State:\s+R/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}

/** Ids of the living processes that `pid` started. */
function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((child) => {
      try {
        const status = readFileSync(`/proc/${child}/status`, "utf8");
        return new RegExp(`^PPid:\\s+${pid}$`, "m").test(status) && alive(child);
      } catch {
        return false;
      }
    });
}
