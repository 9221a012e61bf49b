/**
 * An instance: one QuickJS that guests take turns in. It loads programs into images, puts images
 * back, and enters guest code for one execution at a time, measured and bounded.
 *
 * States: empty (nothing of anybody is to be kept), or resident (the memory is a suspended
 * execution's). Between two entries nothing of the guest is on any stack. An entry that ends halfway,
 * by an interrupt or an overflow of the host's stack, leaves a memory that must not be entered again:
 * its execution has ended by then, and the next image overwrites all of it.
 */
import { randomFillSync } from "node:crypto";
import {
  OP_ERROR,
  OP_LOADED,
  OP_LOG,
  OP_RESULT,
  OP_TIMER_CLEAR,
  OP_TIMER_SET,
} from "../sdk/operations.ts";
import { GUEST_MAIN, moduleSource, resolveModule, SDK_PREFIX } from "./guest.ts";
import { answer, needsRandomness } from "./guest-answers.ts";
import type { GuestExecution } from "./guest-execution.ts";
import { EntryMeter } from "./guest-meter.ts";
import {
  captureDifference,
  captureImage,
  captureWhole,
  HotImages,
  type Image,
  restoreImage,
  type WholeImage,
} from "./image.ts";
import type { Program } from "./protocol.ts";
import { QuickJs } from "./quickjs.ts";
import { HEAP_BASE, MEMORY_BYTES_INITIAL } from "./quickjs-memory.ts";

const HOST_FUNCTION = "__host";
const GUEST_FUNCTIONS = "__guest";
const MEGABYTE = 1024 * 1024;
/** Seeds are drawn from the system in blocks of so many bytes. */
const SEEDS_BYTES = 8_192;
const SEED_BYTES = 8;

/** Where the guest's entry functions are, in every image. */
interface Entries {
  load: number;
  run: number;
  preload: number;
  settle: number;
  fire: number;
}

/** The image of a guest without a program, from which all others are made. */
export interface BaseImage {
  whole: WholeImage;
  /** Shared by all instances of a process. */
  hot: HotImages;
  /** No difference from `whole`. */
  image: Image;
  entries: Entries;
  runtime: number;
  context: number;
}

/** Told about every entry into and exit from guest code. */
export interface EntryWatch {
  enter(execution: number, cpuMs: number): void;
  leave(): void;
}

export type LoadOutcome =
  | { kind: "image"; image: Image }
  /** The top level needs what no image can hold: it is evaluated anew for each execution. */
  | { kind: "live" }
  /** It cannot be loaded, and never will be: the execution holds the error. */
  | { kind: "broken" }
  /** This execution's limits ended it; another might get through. */
  | { kind: "ended" };

export class Instance {
  /** The suspended execution whose memory this is. */
  resident: GuestExecution | null = null;
  /** When guest code was last left here, on the monotonic clock. */
  leftAt = 0;
  /** When its resident was put here. */
  placedAt = 0;
  /** An entry ended in a way that nothing can be said about the engine: use it no more. */
  broken = false;
  readonly #quickjs: QuickJs;
  #current: GuestExecution | null = null;
  #program: Program | null = null;
  #loadedModules = new Set<string>();
  readonly #meter = new EntryMeter();

  /** The first instance of a process makes the base image, the others are given it. */
  static async boot(watch: EntryWatch, base: BaseImage | null): Promise<Instance> {
    return new Instance(await QuickJs.boot(), watch, base);
  }

  readonly base: BaseImage;

  private constructor(
    quickjs: QuickJs,
    private readonly watch: EntryWatch,
    base: BaseImage | null,
  ) {
    this.#quickjs = quickjs;
    quickjs.host = {
      call: (argc, argv) => this.#onCall(argc, argv),
      interrupt: () => this.#onInterrupt(),
      resolve: resolveModule,
      load: (name) => {
        this.#loadedModules.add(name);
        return moduleSource(name, this.#program);
      },
    };
    this.base = base ?? makeBase(quickjs);
    if (this.base.runtime !== quickjs.runtime || this.base.context !== quickjs.context) {
      throw new Error("two instances were booted differently");
    }
  }

  get memoryBytes(): number {
    return this.#quickjs.memory.length;
  }

  /** It holds more memory than at first, which only a new one gives back. */
  get grown(): boolean {
    return this.#quickjs.memory.length > MEMORY_BYTES_INITIAL;
  }

  /** Loads a program into an image, on behalf of an execution and within its limits. */
  load(execution: GuestExecution, program: Program): LoadOutcome {
    const { entries } = this.base;
    this.#place(this.base.image, program);
    const quickjs = this.#quickjs;
    const randomBefore = quickjs.randomState();
    quickjs.control.frozenAt = Date.now();
    execution.phase = "loading";
    try {
      this.#enter(execution, entries.load, () => [quickjs.newString(program.entry)]);
      if (execution.loaded) this.#preload(execution, program);
      if (execution.ended && execution.error === null) return { kind: "ended" };
      if (quickjs.randomState() !== randomBefore) execution.neededLive = true;
      if (execution.neededLive) return { kind: "live" };
      if (execution.error !== null) return { kind: "broken" };
      if (!execution.loaded) {
        execution.fail(STALLED_LOADING);
        return { kind: "broken" };
      }
      return { kind: "image", image: captureDifference(quickjs, this.base.whole) };
    } finally {
      quickjs.control.frozenAt = null;
      execution.phase = "running";
    }
  }

  /** Begins an execution from a program's image. */
  run(execution: GuestExecution, program: Program, image: Image): void {
    this.#placeFor(execution, image, program);
    this.#quickjs.seedRandom(nextSeed());
    this.resident = execution;
    this.callHandler(execution);
  }

  /** Begins an execution of a program that has no image: loads it, with everything live. */
  loadLive(execution: GuestExecution, program: Program): void {
    this.#place(this.base.image, program);
    this.#quickjs.seedRandom(nextSeed());
    this.resident = execution;
    this.#enter(execution, this.base.entries.load, () => [this.#quickjs.newString(program.entry)]);
  }

  /** Calls the handler of what is loaded. */
  callHandler(execution: GuestExecution): void {
    if (execution.ended) return;
    this.#enter(execution, this.base.entries.run, () => [this.#quickjs.newString(execution.input)]);
  }

  /** Gives the resident execution the answer to a host call. */
  settle(execution: GuestExecution, reply: { call: number; ok: boolean; json: string }): void {
    const quickjs = this.#quickjs;
    this.#enter(execution, this.base.entries.settle, () => [
      quickjs.newNumber(reply.call),
      quickjs.newNumber(reply.ok ? 1 : 0),
      quickjs.newString(reply.json),
    ]);
  }

  /** Tells the resident execution that a timer is due. */
  fire(execution: GuestExecution, timer: number): void {
    this.#enter(execution, this.base.entries.fire, () => [this.#quickjs.newNumber(timer)]);
  }

  /**
   * Takes the resident execution out: the instance is empty afterwards.
   * @param take makes the buffer that the memory is copied into
   */
  swapOut(take: (bytes: number) => Buffer): Image {
    const { resident } = this;
    this.resident = null;
    const began = performance.now();
    const image = captureImage(this.#quickjs, take);
    resident?.spend(performance.now() - began);
    return image;
  }

  /** Puts a suspended execution back. */
  swapIn(execution: GuestExecution, program: Program, image: Image): void {
    this.#placeFor(execution, image, program);
    this.resident = execution;
  }

  /**
   * Copying is CPU of the execution whose memory it is: 28 MB that are put in and out every millisecond
   * would keep a child busy for as long as a script may wait, and cost the script nothing.
   */
  #placeFor(execution: GuestExecution, image: Image, program: Program): void {
    const began = performance.now();
    this.#place(image, program);
    execution.spend(performance.now() - began);
  }

  #place(image: Image, program: Program): void {
    this.#program = program;
    this.#loadedModules.clear();
    this.placedAt = performance.now();
    restoreImage(this.#quickjs, this.base.hot.of(image));
  }

  /** Modules that only a dynamic import names: evaluated once here, not in each execution. */
  #preload(execution: GuestExecution, program: Program): void {
    for (const name of Object.keys(program.modules)) {
      if (execution.ended) return;
      if (name === program.entry || this.#loadedModules.has(name)) continue;
      this.#enter(execution, this.base.entries.preload, () => [this.#quickjs.newString(name)]);
    }
  }

  #enter(execution: GuestExecution, entry: number, values: () => number[]): void {
    const quickjs = this.#quickjs;
    quickjs.control.heapEndMax = HEAP_BASE + execution.header.limits.memory_mb * MEGABYTE;
    quickjs.control.growthRefused = false;
    this.#current = execution;
    this.watch.enter(execution.id, execution.cpuMs);
    this.#meter.begin(execution.cpuMsLeft);
    try {
      const returned = quickjs.call(entry, values());
      quickjs.drain(() => this.#mustStop(execution));
      // An entry function of ours throws only when there was no memory for its arguments.
      if (!returned) execution.exceed("memory_mb");
    } catch (error) {
      this.#crashed(execution, error);
    } finally {
      this.watch.leave();
      this.leftAt = performance.now();
      this.#current = null;
      quickjs.resetStack();
      this.#account(execution);
    }
  }

  #account(execution: GuestExecution): void {
    const quickjs = this.#quickjs;
    const used = quickjs.heapEnd - HEAP_BASE;
    if (used > execution.memoryBytes) execution.memoryBytes = used;
    if (quickjs.control.growthRefused || quickjs.heapEnd > quickjs.control.heapEndMax) {
      execution.exceed("memory_mb");
    }
    execution.spend(this.#meter.end());
  }

  /** The host's own stack overflowed below the guest, or the engine trapped. */
  #crashed(execution: GuestExecution, error: unknown): void {
    if (error instanceof RangeError) {
      execution.fail({ name: "InternalError", message: "stack overflow", stack: "" });
      return;
    }
    this.broken = true;
    if (!this.#quickjs.control.growthRefused) console.error("sandbox:", error);
    execution.fail({ name: "InternalError", message: "the sandbox failed", stack: "" });
  }

  #onInterrupt(): boolean {
    const execution = this.#current;
    if (execution === null) return false;
    const quickjs = this.#quickjs;
    if (quickjs.control.growthRefused || quickjs.heapEnd > quickjs.control.heapEndMax) {
      execution.exceed("memory_mb");
    }
    return this.#mustStop(execution);
  }

  #mustStop(execution: GuestExecution): boolean {
    if (execution.ended) return true;
    const now = performance.now();
    if (this.#meter.over(now)) execution.exceed("cpu_ms");
    else if (now > execution.deadline) execution.expire();
    return execution.ended;
  }

  /** The imported function. Returns an owned value pointer, or 0 for undefined. */
  #onCall(argc: number, argv: number): number {
    const execution = this.#current;
    if (execution === null || argc === 0) return 0;
    const quickjs = this.#quickjs;
    const text = (index: number): string => {
      return index < argc ? quickjs.readString(quickjs.argument(argv, index)) : "";
    };
    const number = (index: number): number => {
      return index < argc ? quickjs.readNumber(quickjs.argument(argv, index)) : 0;
    };
    const operation = number(0);
    if (operation > 0) return this.#refusal(execution.acceptCall(operation, text(1), text(2)));
    switch (operation) {
      case OP_RESULT:
        execution.acceptResult(text(1), text(2));
        return 0;
      case OP_ERROR:
        execution.acceptError(text(1));
        return 0;
      case OP_LOADED:
        execution.loaded = true;
        return 0;
      case OP_LOG:
        execution.acceptLog(text(1));
        return 0;
      case OP_TIMER_SET:
        return this.#refusal(execution.acceptTimer(number(1), number(2)));
      case OP_TIMER_CLEAR:
        execution.clearTimer(number(1));
        return 0;
    }
    const refused = needsRandomness(operation) ? execution.acceptRandomness() : null;
    if (refused !== null) return quickjs.newString(refused);
    const bytes = (index: number): Buffer | null => {
      return index < argc ? quickjs.readBuffer(quickjs.argument(argv, index)) : null;
    };
    const reply = answer(operation, { text, number, bytes });
    if (reply === null) return 0;
    return typeof reply === "string" ? quickjs.newString(reply) : quickjs.newBuffer(reply);
  }

  #refusal(refusal: string | null): number {
    return refusal === null ? 0 : this.#quickjs.newString(refusal);
  }
}

const STALLED_LOADING = {
  name: "Error",
  message: "The script's top level waits for something that can never happen",
  stack: "",
};

/** Loads the SDK into a new guest and takes its doors off the global object. */
function makeBase(quickjs: QuickJs): BaseImage {
  quickjs.defineHostFunction(HOST_FUNCTION);
  quickjs.free(quickjs.evaluate(`import("${GUEST_MAIN}")`, `${SDK_PREFIX}boot`));
  quickjs.drain(() => false);
  const entry = (name: string): number => quickjs.evaluate(`${GUEST_FUNCTIONS}.${name}`, "boot");
  const entries = {
    load: entry("load"),
    run: entry("run"),
    preload: entry("preload"),
    settle: entry("settle"),
    fire: entry("fire"),
  };
  quickjs.free(quickjs.evaluate(`delete globalThis.${GUEST_FUNCTIONS}`, "boot"));
  const whole = captureWhole(quickjs);
  return {
    whole,
    hot: new HotImages(),
    image: captureDifference(quickjs, whole),
    entries,
    runtime: quickjs.runtime,
    context: quickjs.context,
  };
}

const seeds = Buffer.alloc(SEEDS_BYTES);
let seedsUsed = SEEDS_BYTES;

/** Eight fresh random bytes; not all zero, which would be a state without a successor. */
function nextSeed(): Uint8Array {
  if (seedsUsed === SEEDS_BYTES) {
    randomFillSync(seeds);
    seedsUsed = 0;
  }
  const seed = seeds.subarray(seedsUsed, seedsUsed + SEED_BYTES);
  seedsUsed += SEED_BYTES;
  seed[0] = (seed[0] as number) | 1;
  return seed;
}
