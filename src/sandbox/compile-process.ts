/**
 * One child of the `compile` role, seen from the server: started, asked one thing at a time, killed.
 * The server kills it when a source breaks its deadline or its memory.
 */
import { readFileSync } from "node:fs";
import type { Logger } from "../base/log.ts";
import { counters } from "../base/metrics.ts";
import { PicError } from "../domain/errors.ts";
import { childReadyMsMax, compileWatchMs } from "../domain/limits.ts";
import type { CompileRequest } from "./api.ts";
import {
  compileChildFd,
  FRAME_COMPILE,
  FRAME_COMPILE_READY,
  FRAME_COMPILED,
} from "./compile-frames.ts";
import { type FrameChannel, openFrameChannel } from "./frames.ts";

export interface CompileProcessOptions {
  command: readonly string[];
  log: Logger;
  /** For one source, from the request to the answer. */
  timeoutMs: number;
  memoryMbMax: number;
}

/** How one request ended. */
export type CompileAnswer =
  | { end: "answered"; text: string }
  | { end: "timeout" }
  | { end: "memory" }
  | { end: "crashed" };

/**
 * Nothing of ours, and no crash reports to anybody. The kernel ends the child with its server, even
 * when it is deep in a source and would not notice that its socket has closed.
 */
const CHILD_ENVIRONMENT = {
  DO_NOT_TRACK: "1",
  BUN_ENABLE_CRASH_REPORTING: "0",
  BUN_FEATURE_FLAG_NO_ORPHANS: "1",
};

export class CompileProcess {
  /** Rejects with PicError `unavailable` when the child does not start. */
  readonly ready: Promise<void>;
  readonly #ready = Promise.withResolvers<void>();
  readonly #process: Bun.Subprocess;
  readonly #exited: Promise<void>;
  readonly #startTimer: ReturnType<typeof setTimeout>;
  #channel: FrameChannel | null = null;
  #state: "starting" | "ready" | "ended" = "starting";
  /** The number of the newest request; answers to others are dropped. */
  #number = 0;
  #pending: PromiseWithResolvers<CompileAnswer> | null = null;

  /** Throws PicError `unavailable` when there is nothing to start. */
  constructor(private readonly options: CompileProcessOptions) {
    this.ready = this.#ready.promise;
    this.ready.catch(() => {}); // nobody waits for a child that was only prepared
    this.#process = spawn(options);
    counters.childrenStarted += 1;
    this.#startTimer = setTimeout(() => this.#fail("not ready in time"), childReadyMsMax);
    this.#exited = this.#process.exited.then(() => this.#onExit());
    this.#connect().catch((error: unknown) => this.#fail(String(error)));
  }

  get pid(): number {
    return this.#process.pid;
  }

  get isAlive(): boolean {
    return this.#state !== "ended";
  }

  /** Sends a source and waits. What breaks its time or memory ends the child. One at a time. */
  async ask(request: CompileRequest): Promise<CompileAnswer> {
    if (this.#state !== "ready" || this.#channel === null) return { end: "crashed" };
    const pending = Promise.withResolvers<CompileAnswer>();
    this.#pending = pending;
    this.#number += 1;
    const deadline = setTimeout(() => this.#settle({ end: "timeout" }), this.options.timeoutMs);
    const watch = setInterval(() => {
      if (residentMb(this.pid) > this.options.memoryMbMax) this.#settle({ end: "memory" });
    }, compileWatchMs);
    try {
      this.#channel.send(FRAME_COMPILE, this.#number, JSON.stringify(request));
      this.#channel.flush();
      const answer = await pending.promise;
      if (answer.end === "timeout" || answer.end === "memory") {
        this.#end("The compiler was ended");
        counters.childrenKilled += 1;
      }
      return answer;
    } finally {
      clearTimeout(deadline);
      clearInterval(watch);
    }
  }

  /** Resolves when the process is gone. May be called twice. */
  async kill(): Promise<void> {
    this.#end("The compiler was stopped");
    await this.#exited;
  }

  async #connect(): Promise<void> {
    const fd = this.#process.stdio[compileChildFd];
    if (typeof fd !== "number") throw new Error("no socket to the compile child");
    const said = Promise.withResolvers<void>();
    this.#channel = await openFrameChannel(fd, {
      onFrame: (type, number, text) => {
        if (type === FRAME_COMPILE_READY) said.resolve();
        else if (type === FRAME_COMPILED && number === this.#number) {
          this.#settle({ end: "answered", text });
        }
      },
      onClose: () => this.#end("The compiler ended"),
    });
    await said.promise;
    if (this.#state !== "starting") return;
    this.#state = "ready";
    clearTimeout(this.#startTimer);
    this.#ready.resolve();
  }

  #onExit(): void {
    const { signalCode, exitCode } = this.#process;
    if (this.#state === "starting") this.#fail(`ended with ${signalCode ?? exitCode}`);
    this.#end("The compiler ended");
    this.#channel?.close();
  }

  #fail(why: string): void {
    this.options.log.error("the compile child failed", { why });
    this.#end("The compiler did not start");
  }

  #end(reason: string): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    clearTimeout(this.#startTimer);
    this.#ready.reject(new PicError("unavailable", reason));
    this.#settle({ end: "crashed" });
    this.#process.kill("SIGKILL");
  }

  #settle(answer: CompileAnswer): void {
    this.#pending?.resolve(answer);
    this.#pending = null;
  }
}

function spawn(options: CompileProcessOptions): Bun.Subprocess {
  try {
    return Bun.spawn([...options.command], {
      cwd: "/",
      env: CHILD_ENVIRONMENT,
      stdio: ["ignore", "ignore", "ignore", "pipe"],
    });
  } catch (error) {
    options.log.error("the compile child could not be started", { error });
    throw new PicError("unavailable", "The compiler did not start", { cause: error });
  }
}

/** Resident memory of a process; 0 where the system does not say (then only time is bounded). */
function residentMb(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(/VmRSS:\s*(\d+)/.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}
