/**
 * The server's side of compiling: at most one child of the `compile` role, started when a save comes
 * (or is announced by `prepare`), kept warm for a while, then gone, so that an idle server holds none.
 *
 * Sources are hostile: each has a deadline, and the child's memory is watched while it compiles. A
 * child that breaks either, or crashes, is killed; the save gets a clean answer, the next one a new
 * child. Saves wait in a bounded queue.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { Semaphore, SemaphoreFull } from "../base/semaphore.ts";
import { PicError } from "../domain/errors.ts";
import {
  compileKeepWarmMs,
  compileMemoryMbMax,
  compileMsMax,
  compileQueueMax,
  compileWaitMsMax,
} from "../domain/limits.ts";
import type { CompileRequest, CompileResult, Compiler } from "./api.ts";
import { type CompileAnswer, CompileProcess } from "./compile-process.ts";

export interface CompilerOptions {
  /** How a child is started: the executable and its arguments (`[execPath, "compile"]`). */
  command: readonly string[];
  clock: Clock;
  log: Logger;
  /** How long a child stays after its last answer. */
  keepWarmMs?: number;
  /** For one source, from the request to the answer. */
  timeoutMs?: number;
  memoryMbMax?: number;
  queueMax?: number;
}

export interface ServerCompiler extends Compiler {
  /** Starts the child when there is none, because a save is about to come. Never throws. */
  prepare(): void;
  stats(): CompilerStats;
}

export interface CompilerStats {
  /** The child's process id, or null when there is none. */
  pid: number | null;
  started: number;
  /** Children that a source ended: by time, by memory or by a crash. */
  lost: number;
}

/** Makes a compiler. Nothing is started before the first `compile` or `prepare`. */
export function createCompiler(options: CompilerOptions): ServerCompiler {
  return new ChildCompiler(options);
}

class ChildCompiler implements ServerCompiler {
  readonly #options: Required<CompilerOptions>;
  readonly #turn: Semaphore;
  #child: CompileProcess | null = null;
  /** Children that were told to end and have not yet. */
  readonly #ending = new Set<Promise<void>>();
  #restTimer: ReturnType<typeof setTimeout> | null = null;
  #isStopped = false;
  #isBusy = false;
  #started = 0;
  #lostCount = 0;

  constructor(options: CompilerOptions) {
    this.#options = {
      keepWarmMs: compileKeepWarmMs,
      timeoutMs: compileMsMax,
      memoryMbMax: compileMemoryMbMax,
      queueMax: compileQueueMax,
      ...options,
    };
    this.#turn = new Semaphore({
      slots: 1,
      waiting: this.#options.queueMax,
      waitMsMax: compileWaitMsMax,
    });
  }

  async compile(request: CompileRequest): Promise<CompileResult> {
    try {
      return await this.#turn.run(() => this.#compile(request));
    } catch (error) {
      if (!(error instanceof SemaphoreFull)) throw error;
      throw new PicError("unavailable", "Too many scripts are being saved; try again", {
        retry_after_s: 1,
      });
    }
  }

  prepare(): void {
    if (this.#isStopped) return;
    try {
      this.#runningChild();
      if (!this.#isBusy) this.#armRest();
    } catch (error) {
      this.#options.log.warn("the compiler could not be started early", { error });
    }
  }

  stats(): CompilerStats {
    return { pid: this.#child?.pid ?? null, started: this.#started, lost: this.#lostCount };
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#dropChild();
    await Promise.all(this.#ending);
  }

  async #compile(request: CompileRequest): Promise<CompileResult> {
    this.#cancelRest();
    this.#isBusy = true;
    try {
      let answer = await this.#ask(request);
      // it may also have been ended from outside, when memory ran short: once more, then it is the source
      if (answer.end === "crashed") answer = await this.#ask(request);
      return answer.end === "answered" ? readAnswer(answer.text) : this.#lost(answer.end);
    } catch (error) {
      this.#dropChild();
      throw error;
    } finally {
      this.#isBusy = false;
      this.#armRest();
    }
  }

  async #ask(request: CompileRequest): Promise<CompileAnswer> {
    if (this.#isStopped) throw stopping();
    const child = this.#runningChild();
    await child.ready;
    const started = this.#options.clock.monotonic();
    const answer = await child.ask(request);
    if (answer.end === "answered") return answer;
    if (this.#isStopped) throw stopping();
    this.#options.log.warn("a source ended its compile child", {
      end: answer.end,
      script: request.name,
      ms: Math.round(this.#options.clock.monotonic() - started),
    });
    return answer;
  }

  /** A child that dies while it compiles died of the source. */
  #lost(end: "timeout" | "memory" | "crashed"): CompileResult {
    this.#lostCount += 1;
    this.#dropChild();
    if (end === "timeout") {
      throw new PicError("timeout", "The source took too long to compile");
    }
    const message =
      end === "memory"
        ? "The source takes too much memory to compile"
        : "The source cannot be compiled: it is nested too deeply or too large";
    return { ok: false, problems: [{ message, line: 1, column: 1 }] };
  }

  #runningChild(): CompileProcess {
    if (this.#child === null || !this.#child.isAlive) {
      this.#dropChild();
      this.#child = new CompileProcess(this.#options);
      this.#started += 1;
    }
    return this.#child;
  }

  #dropChild(): void {
    this.#cancelRest();
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    const ended = child.kill();
    this.#ending.add(ended);
    ended.finally(() => this.#ending.delete(ended));
  }

  #armRest(): void {
    this.#cancelRest();
    if (this.#child === null) return;
    this.#restTimer = setTimeout(() => this.#dropChild(), this.#options.keepWarmMs);
    this.#restTimer.unref();
  }

  #cancelRest(): void {
    if (this.#restTimer !== null) clearTimeout(this.#restTimer);
    this.#restTimer = null;
  }
}

function stopping(): PicError {
  return new PicError("unavailable", "The server is stopping");
}

/**
 * The child runs the same build as we do, so its answer has the right shape. It also reads hostile
 * text: what is no answer at all is its end, not ours.
 */
function readAnswer(text: string): CompileResult {
  try {
    const answer: unknown = JSON.parse(text);
    if (typeof answer === "object" && answer !== null && "ok" in answer) {
      return answer as CompileResult;
    }
  } catch {}
  throw new PicError("unavailable", "The compiler gave no readable answer");
}
