import { describe, expect, test } from "bun:test";
import { startSupervision } from "../../src/background/supervision.ts";
import type { Logger } from "../../src/base/log.ts";
import { startExtendEveryMs } from "../../src/domain/limits.ts";

/** A service manager that notes what it hears, and timers that a test lets run out by hand. */
function setup({ watchdogMs = 60_000 as number | null, takes = true } = {}) {
  const heard: string[] = [];
  const errors: unknown[] = [];
  const timers: { fn: () => void; ms: number }[] = [];
  let closed = 0;
  const nothing = (): void => {};
  const log: Logger = {
    debug: nothing,
    info: nothing,
    warn: nothing,
    error: (message, fields) => void errors.push({ message, ...fields }),
    child: () => log,
  };
  const supervision = startSupervision({
    notifier: {
      send: (lines) => {
        heard.push(lines.join(" "));
        return takes;
      },
      close: () => {
        closed += 1;
      },
    },
    watchdogMs,
    log,
    startTimer: (fn, ms) => {
      const timer = { fn, ms };
      timers.push(timer);
      return () => {
        const index = timers.indexOf(timer);
        if (index !== -1) timers.splice(index, 1);
      };
    },
  });
  /** Lets the one timer that runs run out, and what it began go on. */
  const pass = async (): Promise<number> => {
    expect(timers).toHaveLength(1);
    const [timer] = timers.splice(0);
    timer?.fn();
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
    return timer?.ms ?? 0;
  };
  return { supervision, heard, errors, timers, pass, closed: () => closed };
}

const alive = async (): Promise<null> => null;

describe("a server that starts", () => {
  test("asks for more time, for as long as it takes", async () => {
    const { heard, pass } = setup();
    expect(await pass()).toBe(startExtendEveryMs);
    await pass();
    expect(heard).toHaveLength(2);
    for (const text of heard) expect(text).toMatch(/^EXTEND_TIMEOUT_USEC=30000000 STATUS=\w/);
  });

  test("that is ended says so once, and nothing later", () => {
    const { supervision, heard, timers, closed } = setup();
    supervision.stopping();
    supervision.stopping();
    supervision.ready("late", alive);
    expect(heard).toEqual(["STOPPING=1 STATUS=Ending what is under way"]);
    expect({ timers, closed: closed() }).toEqual({ timers: [], closed: 1 });
  });
});

describe("a server that is ready", () => {
  test("gives a sign of life every half of the watchdog's time", async () => {
    const { supervision, heard, pass } = setup({ watchdogMs: 60_000 });
    supervision.ready("Serving", alive);
    expect(await pass()).toBe(30_000);
    expect(await pass()).toBe(30_000);
    expect(heard).toEqual(["READY=1 STATUS=Serving", "WATCHDOG=1", "WATCHDOG=1"]);
  });

  test("shows a status of one line, whatever the text", () => {
    const { supervision, heard } = setup();
    supervision.ready("Serving\nMAINPID=1", alive);
    expect(heard).toEqual(["READY=1 STATUS=Serving MAINPID=1"]);
  });

  test("has no timer at all when nobody watches", () => {
    const { supervision, heard, timers } = setup({ watchdogMs: null });
    supervision.ready("Serving", alive);
    expect(heard).toEqual(["READY=1 STATUS=Serving"]);
    expect(timers).toEqual([]);
  });

  test("is silent while it is not alive, says why once, and speaks again", async () => {
    const { supervision, heard, errors, pass } = setup();
    let reason: string | null = "no sandbox";
    supervision.ready("Serving", async () => reason);
    await pass();
    await pass();
    reason = null;
    await pass();
    expect(heard.slice(1)).toEqual(["WATCHDOG=1"]);
    expect(errors).toMatchObject([{ reason: "no sandbox" }]);
  });

  test("is silent while a probe does not answer, and one probe is under way at a time", async () => {
    const { supervision, heard, errors, pass } = setup();
    const answers: ((reason: null) => void)[] = [];
    supervision.ready("Serving", () => new Promise((resolve) => answers.push(resolve)));
    await pass();
    await pass();
    await pass();
    expect(heard).toEqual(["READY=1 STATUS=Serving"]);
    expect(answers).toHaveLength(1);
    expect(errors).toMatchObject([{ reason: "the last probe has not ended" }]);
    answers[0]?.(null);
    await Promise.resolve();
    await Promise.resolve();
    expect(heard.slice(1)).toEqual(["WATCHDOG=1"]);
  });

  test("gives no sign of life after it has said that it ends", async () => {
    const { supervision, heard, timers, pass } = setup();
    let answer: (reason: null) => void = () => {};
    const probe = (): Promise<null> => new Promise((resolve) => (answer = resolve));
    supervision.ready("Serving", probe);
    await pass();
    supervision.stopping();
    answer(null);
    await Promise.resolve();
    await Promise.resolve();
    expect(heard.at(-1)).toStartWith("STOPPING=1");
    expect(timers).toEqual([]);
  });

  test("that nobody hears serves on and logs it", () => {
    const { supervision, errors } = setup({ takes: false });
    supervision.ready("Serving", alive);
    expect(errors).toHaveLength(1);
  });
});
