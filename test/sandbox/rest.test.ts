import { afterEach, expect, spyOn, test } from "bun:test";
import { warmUpExecutions } from "../../src/domain/limits.ts";
import { ChildExecutions } from "../../src/sandbox/child-executions.ts";
import { ChildGarbage } from "../../src/sandbox/child-garbage.ts";
import { ChildRest } from "../../src/sandbox/child-rest.ts";

const restores: (() => void)[] = [];
afterEach(() => {
  for (const restore of restores.splice(0)) restore();
});

/** How many executions were under way each time that another began. */
function watchRuns(): number[] {
  const underWay: number[] = [];
  const { run } = ChildExecutions.prototype;
  const spy = spyOn(ChildExecutions.prototype, "run").mockImplementation(function (
    this: ChildExecutions,
    ...args: Parameters<typeof run>
  ) {
    underWay.push(this.running);
    return run.apply(this, args);
  });
  restores.push(() => spy.mockRestore());
  return underWay;
}

function setup(options: { busy?: () => boolean } = {}) {
  const warm = Promise.withResolvers<void>();
  const rested = Promise.withResolvers<void>();
  const rest = new ChildRest({
    garbage: new ChildGarbage(),
    busy: options.busy ?? (() => false),
    onWarm: warm.resolve,
    onRested: rested.resolve,
  });
  return { rest, warm: warm.promise, rested: rested.promise };
}

test("the warm-up runs all of its executions, each to its end before the next", async () => {
  const underWay = watchRuns();
  const { rest, warm, rested } = setup();
  rest.begin();
  rest.begin();
  await warm;
  await rested;
  expect(underWay.length).toBe(warmUpExecutions);
  expect(Math.max(...underWay)).toBe(0);
});

test("a warm-up that work has interrupted goes on where it was at the next rest", async () => {
  const underWay = watchRuns();
  let busy = false;
  const { rest, rested } = setup({ busy: () => busy || underWay.length === 10 });
  rest.begin();
  await until(() => underWay.length === 10);
  busy = true;
  rest.interrupt();
  underWay.push(0);
  busy = false;
  rest.begin();
  await rested;
  expect(underWay.length).toBe(warmUpExecutions + 1);
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
  // The loop that it stopped has ended by now.
  await new Promise((resolve) => setImmediate(resolve));
}
