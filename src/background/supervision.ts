/**
 * What the service manager is told, over the life of one server:
 *
 *   starting → ready → stopping
 *
 * Starting may take long (a database that is not there yet, a migration on a slow card): while the
 * event loop turns, the manager is asked for more time. Ready means that it listens and a sandbox can
 * run. From then on every half of the watchdog's time the server is probed (liveness.ts), and only
 * one that is alive says so; a probe that has not answered by the next one says nothing, too.
 * A manager that hears nothing kills the server and starts it again.
 *
 * Costs an idle server one timer per half of the watchdog's time, and no write.
 */
import type { Logger } from "../base/log.ts";
import type { Notifier, Supervisor } from "../base/notify.ts";
import { startExtendEveryMs, startExtendMs } from "../domain/limits.ts";
import { type StartTimer, startTimer } from "../execution/timers.ts";

/** Resolves to why the server is not alive, or null when it is. Never rejects. */
export type Probe = () => Promise<string | null>;

export interface SupervisionOptions {
  notifier: Notifier;
  watchdogMs: Supervisor["watchdogMs"];
  log: Logger;
  startTimer?: StartTimer;
}

export interface Supervision {
  /** It serves; from now on it is probed. `status` is the line that `systemctl status` shows. */
  ready(status: string, probe: Probe): void;
  /** Says that it ends; nothing is said afterwards. May be called twice, and before `ready`. */
  stopping(): void;
}

/** Begins with `starting`. */
export function startSupervision(options: SupervisionOptions): Supervision {
  return new Lifecycle(options);
}

class Lifecycle implements Supervision {
  readonly #startTimer: StartTimer;
  #state: "starting" | "ready" | "stopping" = "starting";
  #cancelTimer: () => void = () => {};
  /** The probe that has not answered yet. */
  #isProbing = false;
  /** Why the manager is not told, so that the log says it once. */
  #silence: string | null = null;

  constructor(private readonly options: SupervisionOptions) {
    this.#startTimer = options.startTimer ?? startTimer;
    this.#extend();
  }

  ready(status: string, probe: Probe): void {
    if (this.#state !== "starting") return;
    this.#state = "ready";
    this.#cancelTimer();
    const { notifier, watchdogMs, log } = this.options;
    if (!notifier.send(["READY=1", statusLine(status)])) {
      log.error("the service manager cannot be told that the server is ready");
    }
    if (watchdogMs !== null) this.#beatEvery(watchdogMs / 2, probe);
  }

  stopping(): void {
    if (this.#state === "stopping") return;
    this.#state = "stopping";
    this.#cancelTimer();
    const { notifier } = this.options;
    notifier.send(["STOPPING=1", statusLine("Ending what is under way")]);
    notifier.close();
  }

  #extend(): void {
    this.#cancelTimer = this.#startTimer(() => {
      const status = statusLine("Still starting; the log says what it waits for");
      this.options.notifier.send([`EXTEND_TIMEOUT_USEC=${startExtendMs * 1_000}`, status]);
      this.#extend();
    }, startExtendEveryMs);
  }

  #beatEvery(ms: number, probe: Probe): void {
    this.#cancelTimer = this.#startTimer(() => {
      this.#beatEvery(ms, probe);
      void this.#beat(probe);
    }, ms);
  }

  async #beat(probe: Probe): Promise<void> {
    if (this.#isProbing) {
      this.#beSilent("the last probe has not ended");
      return;
    }
    this.#isProbing = true;
    const reason = await probe();
    this.#isProbing = false;
    if (this.#state !== "ready") return;
    if (reason !== null) {
      this.#beSilent(reason);
      return;
    }
    this.#silence = null;
    this.options.notifier.send(["WATCHDOG=1"]);
  }

  #beSilent(reason: string): void {
    if (this.#silence === reason) return;
    this.#silence = reason;
    this.options.log.error("the watchdog is not answered: the service manager will restart this", {
      reason,
    });
  }
}

/** One line, whatever the text: a line break would begin another variable. */
function statusLine(text: string): string {
  return `STATUS=${text.replace(/\s+/g, " ")}`;
}
