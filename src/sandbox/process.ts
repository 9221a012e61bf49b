/**
 * One child process from start to end: started, READY or killed at its deadline, then frames both
 * ways until it ends. It knows nothing of executions.
 *
 * starting → ready → gone. `onGone` comes once, after everything that the child had written before it
 * died was read, so that no finished result is lost with it.
 *
 * The child dies with its parent even when both cannot run code of their own (a SIGKILLed server, a
 * guest in an endless loop): the runtime's no-orphans flag has the kernel send it SIGKILL then.
 */
import { constants, setPriority } from "node:os";
import { counters } from "../base/metrics.ts";
import { childOutputCharsMax } from "../domain/limits.ts";
import { type Cell, createCell } from "./cell.ts";
import { type FrameChannel, openFrameChannel } from "./frames.ts";
import { FRAME_READY } from "./protocol.ts";

/**
 * A guest's nested source and regexes overflow the host's stack before their own: native stack ≥ 256 ×
 * the guest's 128 KB. Where the hard limit forbids it, the runtime keeps its smaller default instead
 * of believing in a stack that is not there. A child is a better victim for the kernel than the server.
 */
const START_SCRIPT = [
  "ulimit -s 65536 2>/dev/null || unset BUN_JSC_maxPerThreadStackUsage",
  "echo 500 2>/dev/null >/proc/self/oom_score_adj",
  'exec "$0" "$@"',
].join("\n");
const CHILD_ENVIRONMENT = {
  BUN_JSC_maxPerThreadStackUsage: "33554432",
  BUN_FEATURE_FLAG_NO_ORPHANS: "1",
};
const SOCKET_FD = 3;
/** After the process has ended, how long its last bytes may take to arrive. */
const LAST_BYTES_MS = 100;

export interface ProcessOptions {
  /** The executable, absolute, and its first arguments. */
  command: readonly string[];
  image_cache_mb: number;
  readyMsMax: number;
}

export interface ProcessEnd {
  /** Killed by `kill` of this object, not by itself or by the system. */
  killed: boolean;
  was_ready: boolean;
  signal: NodeJS.Signals | number | null;
  exit_code: number | null;
  error: Error | null;
  /** The end of what it wrote to its standard error. */
  output: string;
}

export interface ProcessHandlers {
  /** It can be used; called once. */
  onReady: () => void;
  onFrame: (type: number, execution: number, text: string) => void;
  onGone: (end: ProcessEnd) => void;
}

export class SandboxProcess {
  readonly pid: number;
  readonly cell: Cell;
  /** Resolves when the process has ended and was reaped. */
  readonly exited: Promise<void>;
  /** It has run enough for its code to be compiled. */
  warm = false;
  #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  #channel: FrameChannel | null = null;
  #channelClosed = false;
  #ready = false;
  #gone = false;
  #killed = false;
  #error: Error | null = null;
  #output = "";
  #readyTimer: ReturnType<typeof setTimeout>;

  /** Throws what starting a process throws. */
  constructor(
    options: ProcessOptions,
    private readonly handlers: ProcessHandlers,
  ) {
    this.cell = createCell();
    try {
      this.#child = spawn(options, this.cell.path);
    } catch (error) {
      this.cell.unlink();
      throw error;
    }
    counters.childrenStarted += 1;
    this.pid = this.#child.pid;
    this.#readyTimer = setTimeout(() => {
      this.#fail(new Error(`not ready after ${options.readyMsMax} ms`));
    }, options.readyMsMax);
    void this.#readOutput();
    void this.#connect();
    this.exited = this.#child.exited.then(() => this.#onExit());
  }

  get ready(): boolean {
    return this.#ready && !this.#gone;
  }

  /** Bytes sent that the child has not taken yet. */
  get pendingBytes(): number {
    return this.#channel?.pendingBytes ?? 0;
  }

  /** Drops the frame when the child is gone. Throws FrameError when the text is too long. */
  send(type: number, execution: number, text: string): void {
    this.#channel?.send(type, execution, text);
    this.#channel?.pace();
  }

  /** SIGKILL; `onGone` follows. May be called twice. */
  kill(): void {
    this.#killed = true;
    this.#end();
  }

  /** Lets other processes go first. */
  lowerPriority(): void {
    try {
      setPriority(this.pid, constants.priority.PRIORITY_BELOW_NORMAL);
    } catch {
      // Gone, or not allowed: it only costs fairness.
    }
  }

  #end(): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill("SIGKILL");
    }
  }

  #fail(error: Error): void {
    this.#error ??= error;
    this.#end();
  }

  async #connect(): Promise<void> {
    const fd = this.#child.stdio[SOCKET_FD];
    try {
      if (typeof fd !== "number") throw new Error("the child has no socket");
      this.#channel = await openFrameChannel(fd, {
        onFrame: (type, execution, text) => this.#onFrame(type, execution, text),
        onClose: (error) => this.#onChannelClose(error),
      });
      if (this.#gone) this.#channel.close();
    } catch (error) {
      this.#onChannelClose(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #onFrame(type: number, execution: number, text: string): void {
    if (this.#gone) return;
    if (type !== FRAME_READY) {
      this.handlers.onFrame(type, execution, text);
      return;
    }
    this.warm = (JSON.parse(text) as { warm?: unknown }).warm === true;
    if (this.#ready) return;
    this.#ready = true;
    clearTimeout(this.#readyTimer);
    this.cell.unlink();
    this.handlers.onReady();
  }

  #onChannelClose(error: Error | null): void {
    this.#channelClosed = true;
    this.#error ??= error;
    // Without its socket a child is of no use, and it may not notice.
    this.#end();
    this.#goneWhenBoth();
  }

  #onExit(): void {
    clearTimeout(this.#readyTimer);
    this.cell.unlink();
    this.#goneWhenBoth();
    if (!this.#gone) setTimeout(() => this.#announceGone(), LAST_BYTES_MS);
  }

  #goneWhenBoth(): void {
    const ended = this.#child.exitCode !== null || this.#child.signalCode !== null;
    if (ended && this.#channelClosed) this.#announceGone();
  }

  #announceGone(): void {
    if (this.#gone) return;
    const wasReady = this.#ready;
    this.#gone = true;
    this.#channel?.close();
    this.handlers.onGone({
      killed: this.#killed,
      was_ready: wasReady,
      signal: this.#child.signalCode,
      exit_code: this.#child.exitCode,
      error: this.#error,
      output: this.#output,
    });
  }

  async #readOutput(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of this.#child.stderr) {
        this.#output = (this.#output + decoder.decode(chunk, { stream: true })).slice(
          -childOutputCharsMax,
        );
      }
    } catch {
      // The pipe broke with the process.
    }
  }
}

function spawn(
  options: ProcessOptions,
  cellPath: string,
): Bun.Subprocess<"ignore", "ignore", "pipe"> {
  return Bun.spawn(
    [
      "/bin/sh",
      "-c",
      START_SCRIPT,
      ...options.command,
      `--cell=${cellPath}`,
      `--image-cache-mb=${options.image_cache_mb}`,
    ],
    {
      cwd: "/",
      env: CHILD_ENVIRONMENT,
      // What a child prints must not mix with the server's log: it is read, bounded, and logged.
      // The socket's own end is ours to close, once: a channel owns it.
      stdio: ["ignore", "ignore", "pipe", "socket-fd"],
    },
  ) as Bun.Subprocess<"ignore", "ignore", "pipe">;
}
