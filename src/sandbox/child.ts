/**
 * The role `sandbox`: a child process that runs guest code and has nothing else to do. It speaks
 * frames (protocol.ts) over the socket it was started with, and ends when that closes.
 */
import { readFileSync } from "node:fs";
import { machineMemoryBytes } from "../base/memory.ts";
import { ChildExecutions } from "./child-executions.ts";
import { ChildGarbage } from "./child-garbage.ts";
import { ChildRest } from "./child-rest.ts";
import { type FrameChannel, joinPayload, openFrameChannel, splitPayload } from "./frames.ts";
import type { EntryWatch } from "./instance.ts";
import { privateBytes } from "./procfs.ts";
import {
  CELL_BYTES,
  CELL_CPU_MS,
  CELL_ENTERED,
  CELL_ENTRIES,
  CELL_RUNNING,
  type ChildStats,
  callHeader,
  FRAME_CALL,
  FRAME_CANCEL,
  FRAME_DONE,
  FRAME_FORGET,
  FRAME_NEED,
  FRAME_PROGRAM,
  FRAME_READY,
  FRAME_REPLY,
  FRAME_REST,
  FRAME_RUN,
  FRAME_STATS,
  type Program,
  type RunHeader,
  readReplyHeader,
} from "./protocol.ts";

const SOCKET_FD = 3;
const CELL_FLAG = "--cell=";
const IMAGE_CACHE_FLAG = "--image-cache-mb=";
const MEGABYTE = 1024 * 1024;
/** Memory of given-up instances after which garbage is collected at once. */
const RELEASED_BYTES_MAX = 64 * MEGABYTE;
/** With less memory than this, what may wait in a child is less in proportion. */
const MEMORY_BYTES_FULL = 1024 * MEGABYTE;
const MEMORY_SHARE_MIN = 0.25;

/** Serves until the socket closes. Throws when the command line or the engine is not as expected. */
export async function runSandboxChild(): Promise<void> {
  const watch = openCell(flag(CELL_FLAG));
  const child = new SandboxChild(watch, Number(flag(IMAGE_CACHE_FLAG)) * MEGABYTE);
  await child.serve(SOCKET_FD);
}

/** Read here and not handed down: a control group may give the children less than the server. */
function memoryShare(): number {
  const bytes = machineMemoryBytes((path) => readFileSync(path, "utf8"));
  if (bytes === 0) return 1;
  return Math.max(MEMORY_SHARE_MIN, Math.min(1, bytes / MEMORY_BYTES_FULL));
}

class SandboxChild {
  readonly #memoryShare = memoryShare();
  readonly #executions: ChildExecutions;
  readonly #rest: ChildRest;
  #channel: FrameChannel | null = null;
  /** Of the newest run: most say the same as the one before. */
  #lastHeader: RunHeader | null = null;
  #lastHeaderJson = "";
  readonly #garbage = new ChildGarbage();
  #collecting = false;

  constructor(watch: EntryWatch, imageBytesMax: number) {
    if (!(imageBytesMax >= 0)) throw new Error(`${IMAGE_CACHE_FLAG} takes a number`);
    this.#executions = new ChildExecutions(
      {
        call: (id, call, name, args) => {
          this.#send(FRAME_CALL, id, joinPayload(callHeader(call, name), args));
        },
        done: (id, header, body) => {
          this.#send(FRAME_DONE, id, joinPayload(JSON.stringify(header), body));
          this.#tidy();
        },
        need: (id, program) => this.#send(FRAME_NEED, id, JSON.stringify(program)),
        pace: () => this.#channel?.pace(),
      },
      watch,
      imageBytesMax,
      this.#memoryShare,
    );
    this.#rest = new ChildRest({
      garbage: this.#garbage,
      busy: () => this.#executions.running > 0,
      onWarm: () => this.#send(FRAME_READY, 0, JSON.stringify({ pid: process.pid, warm: true })),
      onRested: () => this.#sendStats(),
    });
  }

  async serve(fd: number): Promise<void> {
    await this.#executions.open();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#channel = await openFrameChannel(fd, {
      onFrame: (type, id, payload) => this.#receive(type, id, payload),
      onClose: (error) => (error === null ? resolve() : reject(error)),
    });
    this.#send(FRAME_READY, 0, JSON.stringify({ pid: process.pid, warm: false }));
    await promise;
    // Whatever is still suspended has nobody left to answer to.
    process.exit(0);
  }

  #receive(type: number, id: number, payload: string): void {
    switch (type) {
      case FRAME_RUN: {
        const { header, text } = splitPayload(payload);
        this.#rest.interrupt();
        this.#executions.run(id, this.#runHeader(header), text);
        return;
      }
      case FRAME_REPLY: {
        const { header, text } = splitPayload(payload);
        const { call, ok } = readReplyHeader(header);
        this.#executions.reply(id, { call, ok, json: text });
        return;
      }
      case FRAME_PROGRAM:
        this.#executions.addProgram(JSON.parse(payload) as Program, payload.length);
        return;
      case FRAME_CANCEL:
        this.#executions.cancel(id);
        return;
      case FRAME_FORGET:
        this.#executions.programs.forget(JSON.parse(payload) as string);
        return;
      case FRAME_REST:
        this.#executions.trim();
        this.#rest.begin();
        return;
      default:
        throw new Error(`an unknown frame type ${type}`);
    }
  }

  #runHeader(json: string): RunHeader {
    if (json !== this.#lastHeaderJson) {
      this.#lastHeader = JSON.parse(json) as RunHeader;
      this.#lastHeaderJson = json;
    }
    return this.#lastHeader as RunHeader;
  }

  #send(type: number, id: number, payload: string): void {
    this.#channel?.send(type, id, payload);
  }

  #tidy(): void {
    const { releasedBytes } = this.#executions;
    const isDue = this.#garbage.due || releasedBytes >= RELEASED_BYTES_MAX * this.#memoryShare;
    if (!isDue || this.#collecting) return;
    this.#collecting = true;
    this.#executions.collected();
    // After this turn's frames have left.
    setTimeout(() => {
      this.#collecting = false;
      this.#garbage.collect();
      this.#sendStats();
    }, 0);
  }

  #sendStats(): void {
    const stats: ChildStats = {
      private_bytes: privateBytes(process.pid) ?? 0,
      programs: this.#executions.programs.count,
      executions: this.#executions.completed,
    };
    this.#send(FRAME_STATS, 0, JSON.stringify(stats));
  }
}

/** The shared cell, written on every entry. `RUNNING` is last, so that the rest is right by then. */
function openCell(path: string): EntryWatch {
  const bytes = Bun.mmap(path, { shared: true });
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, CELL_BYTES / 4);
  let entries = 0;
  return {
    enter(execution, cpuMs) {
      entries = (entries + 1) | 0;
      words[CELL_ENTRIES] = entries;
      words[CELL_CPU_MS] = Math.ceil(cpuMs);
      words[CELL_ENTERED] = 1;
      Atomics.store(words, CELL_RUNNING, execution | 0);
    },
    leave() {
      Atomics.store(words, CELL_RUNNING, 0);
    },
  };
}

function flag(name: string): string {
  const found = process.argv.find((argument) => argument.startsWith(name));
  if (found === undefined) throw new Error(`the sandbox role needs ${name}…`);
  return found.slice(name.length);
}
