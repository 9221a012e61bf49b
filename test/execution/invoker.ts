/** An invoker with everything around it faked, and time that stands still. */
import { type Logger, silentLogger } from "../../src/base/log.ts";
import { PicError } from "../../src/domain/errors.ts";
import { LIMIT_DEFAULTS } from "../../src/domain/limits.ts";
import { Gate } from "../../src/execution/gate.ts";
import { createInvoker } from "../../src/execution/invoke.ts";
import type { FinishedExecution } from "../../src/execution/recording.ts";
import type { Runnable } from "../../src/execution/scripts.ts";
import type { Job, Outcome } from "../../src/sandbox/api.ts";
import { FakeTime, outcome } from "./fakes.ts";

export function runnable(over: Partial<Runnable> = {}): Runnable {
  return {
    script_id: "script-1",
    app_id: "app-1",
    name: "hello",
    kind: "endpoint",
    limits: { ...LIMIT_DEFAULTS },
    version: 3,
    public_execute: false,
    program_id: "script-1@3",
    modules: null,
    loadProgram: () =>
      Promise.resolve({
        id: "script-1@3",
        app_id: "app-1",
        entry: "hello",
        modules: { hello: "" },
      }),
    ctx_json: '"scriptId":"script-1","scriptName":"hello","scriptVersion":3,"appId":"app-1"',
    seen_seq: 0,
    ...over,
  };
}

/** Everything around the invoker is a fake that does what its field says. */
export function setup(options: { running?: number; waiting?: number } = {}) {
  const time = new FakeTime();
  const gate = new Gate({ clock: time, startTimer: time.startTimer, ...options });
  const world = {
    scripts: new Map<string, Runnable>([["script-1", runnable()]]),
    isCached: true,
    run: async (_job: Job): Promise<Outcome> => outcome(),
    jobs: [] as Job[],
    /** What the disk has; `sync` moves it. */
    durableSeq: 0,
    waits: [] as { seq: number; resolve: () => void; reject: (error: unknown) => void }[],
    records: [] as FinishedExecution[],
    keeps: true,
    errors: [] as string[],
  };
  const log: Logger = { ...silentLogger, error: (message) => void world.errors.push(message) };
  let made = 0;
  const invoker = createInvoker({
    catalog: {
      cached: (id) => (world.isCached ? world.scripts.get(id) : undefined),
      get: async (id) => {
        const script = world.scripts.get(id);
        if (script === undefined) throw new PicError("not_found", "There is no such script");
        return script;
      },
    },
    gate,
    pool: {
      run: (job) => {
        world.jobs.push(job);
        return world.run(job);
      },
    },
    db: {
      isDurable: (seen) => seen.seq <= world.durableSeq,
      durable: (seen) =>
        new Promise((resolve, reject) => world.waits.push({ seq: seen.seq, resolve, reject })),
    },
    records: {
      admits: () => world.keeps,
      add: (record) => void world.records.push(record),
    },
    clock: time,
    log,
    newId: () => {
      made += 1;
      return `execution-${made}`;
    },
    sdkVersion: "1.0",
  });
  const sync = (seq: number): void => {
    world.durableSeq = seq;
    for (const wait of world.waits.filter((one) => one.seq <= seq)) wait.resolve();
  };
  return { time, gate, world, invoker, sync };
}
