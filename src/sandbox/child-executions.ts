/**
 * The executions of one child: which instance each one is in, when it goes on, and when it is done.
 *
 * An execution is waiting for its program or for an instance, running (at most one at a time: there is
 * one thread), suspended in an instance, or swapped out. A reply or a timer brings it back. Nothing
 * is known of an execution after its DONE: what still arrives for it is dropped.
 */
import { instancesPerChildMax, suspendedBytesMax } from "../domain/limits.ts";
import { ChildPrograms, type Loaded } from "./child-programs.ts";
import { GuestExecution } from "./guest-execution.ts";
import { type Image, imageBytes } from "./image.ts";
import { type BaseImage, type EntryWatch, Instance } from "./instance.ts";
import type { DoneHeader, Program, RunHeader } from "./protocol.ts";

/** Where the executions' words go. */
export interface ChildOutput {
  call(execution: number, call: number, name: string, args: string): void;
  done(execution: number, header: DoneHeader, body: string): void;
  /** The program of a run is not here. */
  need(execution: number, program: string): void;
}

interface Slot {
  execution: GuestExecution;
  program: Program | null;
  /** The handler was called. */
  begun: boolean;
  instance: Instance | null;
  swapped: Image | null;
  timers: Map<number, ReturnType<typeof setTimeout>>;
  expiry: ReturnType<typeof setTimeout> | null;
}

export class ChildExecutions {
  readonly programs: ChildPrograms;
  /** Executions that came to their end. */
  completed = 0;
  readonly #slots = new Map<number, Slot>();
  readonly #instances: Instance[] = [];
  /** Not yet begun: no instance is free, or too much memory is swapped out. */
  readonly #starts: Slot[] = [];
  /** To go on as soon as there is an instance again: these were all given up at once. */
  readonly #resumes: (() => void)[] = [];
  #base: BaseImage | null = null;
  #swappedBytes = 0;
  #releasedBytes = 0;

  constructor(
    private readonly output: ChildOutput,
    private readonly watch: EntryWatch,
    imageBytesMax: number,
  ) {
    this.programs = new ChildPrograms(imageBytesMax);
  }

  /** Makes the instances. Throws when the engine is not the expected one. */
  async open(instances = instancesPerChildMax): Promise<void> {
    const first = await Instance.boot(this.watch, null);
    this.#base = first.base;
    this.#instances.push(first);
    while (this.#instances.length < instances) {
      this.#instances.push(await Instance.boot(this.watch, first.base));
    }
  }

  get running(): number {
    return this.#slots.size;
  }

  /** Memory of instances that were given up since the last call: garbage that nobody counts. */
  takeReleasedBytes(): number {
    const bytes = this.#releasedBytes;
    this.#releasedBytes = 0;
    return bytes;
  }

  addProgram(program: Program, sourceBytes: number): void {
    this.programs.add(program, sourceBytes);
    for (const slot of this.#slots.values()) {
      if (slot.program === null && slot.execution.header.program === program.id) {
        slot.program = program;
        this.#begin(slot);
      }
    }
  }

  run(id: number, header: RunHeader, input: string): void {
    const slot = this.#makeSlot(id, header, input);
    this.#slots.set(id, slot);
    const held = this.programs.use(header.program);
    if (held === null) {
      this.#arm(slot);
      this.output.need(id, header.program);
      return;
    }
    slot.program = held.program;
    this.#begin(slot);
  }

  /** The answer to a host call. Nobody waits for it: it is dropped. */
  reply(id: number, reply: { call: number; ok: boolean; json: string }): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || !slot.execution.acceptReply(reply.call)) return;
    this.#resume(slot, (instance) => instance.settle(slot.execution, reply));
  }

  cancel(id: number): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    slot.execution.expire();
    this.#finish(slot);
  }

  #makeSlot(id: number, header: RunHeader, input: string): Slot {
    const slot: Slot = {
      program: null,
      begun: false,
      instance: null,
      swapped: null,
      timers: new Map(),
      expiry: null,
      execution: new GuestExecution(id, header, input, performance.now() + header.timeout_ms, {
        hostCall: (call, name, args) => this.output.call(id, call, name, args),
        setTimer: (timer, ms) => {
          slot.timers.set(
            timer,
            setTimeout(() => this.#onTimer(slot, timer), ms),
          );
        },
        clearTimer: (timer) => {
          clearTimeout(slot.timers.get(timer));
          slot.timers.delete(timer);
        },
        now: () => Date.now(),
      }),
    };
    return slot;
  }

  #begin(slot: Slot): void {
    const { execution, program } = slot;
    if (program === null || !this.#slots.has(execution.id)) return;
    const instance = this.#swappedBytes > suspendedBytesMax ? null : this.#freeInstance();
    if (instance === null) {
      this.#starts.push(slot);
      this.#arm(slot);
      return;
    }
    const loaded = this.programs.use(program.id)?.loaded ?? this.#load(slot, instance, program);
    slot.instance = instance;
    if (loaded === null) {
      this.#finish(slot);
      return;
    }
    if (loaded.kind === "broken") execution.fail(loaded.error);
    else if (loaded.kind === "live") instance.loadLive(execution, program);
    else {
      slot.begun = true;
      instance.run(execution, program, loaded.image);
    }
    this.#advance(slot);
  }

  /** Null: the execution's own limits ended it. */
  #load(slot: Slot, instance: Instance, program: Program): Loaded | null {
    const { execution } = slot;
    const outcome = instance.load(execution, program);
    if (outcome.kind === "ended") return null;
    const loaded: Loaded =
      outcome.kind === "broken" ? { kind: "broken", error: execution.error ?? NEVER } : outcome;
    if (!instance.broken) this.programs.keep(program.id, loaded);
    execution.reset();
    return loaded;
  }

  #resume(slot: Slot, enter: (instance: Instance) => void): void {
    if (!this.#slots.has(slot.execution.id)) return;
    const instance = slot.instance ?? this.#swapIn(slot);
    if (instance === null) {
      this.#resumes.push(() => this.#resume(slot, enter));
      return;
    }
    enter(instance);
    this.#advance(slot);
  }

  /** After an entry: goes on, waits, or is done. */
  #advance(slot: Slot): void {
    const { execution, instance } = slot;
    if (!slot.begun && execution.loaded && !execution.ended && instance !== null) {
      slot.begun = true;
      instance.callHandler(execution);
    }
    if (!execution.finished && !execution.waits) execution.fail(NEVER);
    if (execution.finished) this.#finish(slot);
    else this.#arm(slot);
  }

  #onTimer(slot: Slot, timer: number): void {
    slot.timers.delete(timer);
    if (!slot.execution.acceptFire(timer)) return;
    this.#resume(slot, (instance) => instance.fire(slot.execution, timer));
  }

  /** The wall limit, for an execution that waits. */
  #arm(slot: Slot): void {
    if (slot.expiry !== null) return;
    const ms = Math.max(0, slot.execution.deadline - performance.now());
    slot.expiry = setTimeout(() => this.cancel(slot.execution.id), ms);
  }

  #finish(slot: Slot): void {
    const { execution, instance } = slot;
    if (!this.#slots.delete(execution.id)) return;
    if (slot.expiry !== null) clearTimeout(slot.expiry);
    for (const timer of slot.timers.values()) clearTimeout(timer);
    if (slot.swapped !== null) this.#swappedBytes -= imageBytes(slot.swapped);
    slot.swapped = null;
    slot.instance = null;
    if (instance !== null) this.#release(instance);
    const { header, body } = execution.done();
    this.completed += 1;
    this.output.done(execution.id, header, body);
    if (this.#starts.length > 0) this.#pump();
  }

  /** An instance whose execution is over: kept, unless it has grown or failed. */
  #release(instance: Instance): void {
    instance.resident = null;
    if (instance.grown || instance.broken) this.#replace(instance);
  }

  #replace(instance: Instance): void {
    const index = this.#instances.indexOf(instance);
    if (index === -1) return;
    this.#instances.splice(index, 1);
    this.#releasedBytes += instance.memoryBytes;
    Instance.boot(this.watch, this.#base).then(
      (fresh) => {
        this.#instances.push(fresh);
        this.#pump();
      },
      (error: unknown) => {
        // Without instances a child is of no use: the parent starts another.
        console.error("sandbox: no new instance:", error);
        process.exit(1);
      },
    );
  }

  #pump(): void {
    while (this.#resumes.length > 0 && this.#instances.length > 0) this.#resumes.shift()?.();
    while (
      this.#starts.length > 0 &&
      this.#instances.length > 0 &&
      this.#swappedBytes <= suspendedBytesMax
    ) {
      const slot = this.#starts.shift();
      if (slot !== undefined) this.#begin(slot);
    }
  }

  #swapIn(slot: Slot): Instance | null {
    const { swapped, program, execution } = slot;
    const instance = this.#freeInstance();
    if (instance === null || swapped === null || program === null) return null;
    slot.swapped = null;
    slot.instance = instance;
    this.#swappedBytes -= imageBytes(swapped);
    instance.swapIn(execution, program, swapped);
    return instance;
  }

  /** An empty instance; the one that was entered longest ago is swapped out for it. */
  #freeInstance(): Instance | null {
    const empty = this.#instances.find((instance) => instance.resident === null);
    if (empty !== undefined) return empty;
    const instance = this.#instances.find((candidate) => !candidate.grown) ?? this.#instances[0];
    if (instance === undefined) return null;
    this.#swapOut(instance);
    if (!instance.grown) {
      this.#instances.push(...this.#instances.splice(this.#instances.indexOf(instance), 1));
      return instance;
    }
    // Its successor is a millisecond away: no other is put out for that.
    this.#replace(instance);
    return null;
  }

  #swapOut(instance: Instance): void {
    const slot = instance.resident === null ? undefined : this.#slots.get(instance.resident.id);
    const image = instance.swapOut();
    if (slot === undefined) return;
    slot.instance = null;
    slot.swapped = image;
    this.#swappedBytes += imageBytes(image);
  }
}

const NEVER = {
  name: "Error",
  message: "The handler waits for something that can never happen",
  stack: "",
};
