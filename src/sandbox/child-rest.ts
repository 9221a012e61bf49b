/**
 * What a child does when it is told that nothing is to do: it collects garbage, and once in its life
 * runs a few thousand executions of its own, so that the first real one meets compiled code (0.3 to
 * 1.6 ms instead of 1 to 8). Warming up stops as soon as there is work.
 */
import { releaseCodePages } from "../base/code-pages.ts";
import { warmUpExecutions } from "../domain/limits.ts";
import { ChildExecutions } from "./child-executions.ts";
import type { ChildGarbage } from "./child-garbage.ts";
import type { RunHeader } from "./protocol.ts";

export interface RestOptions {
  garbage: ChildGarbage;
  busy: () => boolean;
  onWarm: () => void;
  /** Garbage was collected. */
  onRested: () => void;
}

const PROGRAM = {
  id: "warm-up",
  app_id: "",
  entry: "warm-up",
  modules: {
    "warm-up": `
import { kv, log } from "picloud";
export default async function (ctx) {
  const items = ctx.request.body.items;
  const total = items.reduce((sum, item) => sum + item.price * item.count, 0);
  log.info("warm", { total });
  const stored = await kv.collection("warm").get("up");
  const text = new URLSearchParams(ctx.request.query).toString();
  return { statusCode: 200, headers: { "x-warm": text }, body: { total, stored, items } };
}`,
  },
};
const INPUT = JSON.stringify({
  executionId: "0",
  request: {
    method: "POST",
    headers: { "content-type": "application/json", accept: "*/*" },
    query: { a: "1", b: "two" },
    body: {
      items: Array.from({ length: 8 }, (_, index) => ({ price: index, count: 2, name: "x" })),
    },
  },
});
const HEADER: RunHeader = {
  program: PROGRAM.id,
  limits: {
    memory_mb: 8,
    cpu_ms: 1_000,
    timeout_ms: 1_000,
    response_kb: 64,
    log_kb: 64,
    host_calls: 8,
  },
  timeout_ms: 1_000,
};

export class ChildRest {
  #warm = false;
  #left = warmUpExecutions;
  #running = false;
  #interrupted = false;

  constructor(private readonly options: RestOptions) {}

  /** May be called at any time, also while it is under way. */
  begin(): void {
    this.#interrupted = false;
    if (this.#running) return;
    this.#running = true;
    void this.#work().finally(() => {
      this.#running = false;
    });
  }

  /** There is work: the rest of the warm-up waits for the next rest. */
  interrupt(): void {
    this.#interrupted = true;
  }

  async #work(): Promise<void> {
    if (!this.#warm) {
      await this.#warmUp();
      if (this.#left > 0) return;
      this.#warm = true;
      this.options.onWarm();
    }
    if (this.options.busy()) return;
    this.options.garbage.collect();
    releaseCodePages();
    this.options.onRested();
  }

  async #warmUp(): Promise<void> {
    let finished = (): void => {};
    const executions: ChildExecutions = new ChildExecutions(
      {
        // Answered in the next turn, as the parent would.
        call: (id, call) =>
          queueMicrotask(() => executions.reply(id, { call, ok: true, json: "1" })),
        done: () => finished(),
        need: () => {},
        pace: () => {},
      },
      { enter: () => {}, leave: () => {} },
      Number.MAX_SAFE_INTEGER,
    );
    await executions.open(1);
    executions.addProgram(PROGRAM, 0);
    // Executions take turns with what arrives (see sliceMs): one at a time is all the care it needs.
    for (let id = 1; this.#left > 0 && !this.#interrupted && !this.options.busy(); id += 1) {
      await new Promise<void>((resolve) => {
        finished = resolve;
        executions.run(id, HEADER, INPUT);
      });
      this.#left -= 1;
      if (this.options.garbage.due) this.options.garbage.collect();
    }
  }
}
