/**
 * The executions of one child: which instance each one is in, when it goes on, and when it is done.
 *
 * An execution is waiting for its program or for an instance, running (at most one at a time: there is
 * one thread), suspended in an instance, or swapped out. A reply or a timer brings it back. Nothing
 * is known of an execution after its DONE: what still arrives for it is dropped.
 */
import { SmallMap } from "../base/small-map.ts";
import { instancesPerChildMax, replyMsMax, residentBytesMax, sliceMs } from "../domain/limits.ts";
import { ChildInstances, emptiableAt } from "./child-instances.ts";
import { ChildPrograms, type Loaded } from "./child-programs.ts";
import { EarliestTimer } from "./earliest-timer.ts";
import { type ExecutionPort, GuestExecution } from "./guest-execution.ts";
import { type Image, imageBytes } from "./image.ts";
import type { EntryWatch, Instance } from "./instance.ts";
import type { DoneHeader, Program, RunHeader } from "./protocol.ts";
import { appOf, makeSlot, type Slot, type Timer, type Waiter } from "./slot.ts";
import { Suspended } from "./suspended.ts";
import { Turns } from "./turns.ts";

/** Where the executions' words go. */
export interface ChildOutput {
  call(execution: number, call: number, name: string, args: string): void;
  done(execution: number, header: DoneHeader, body: string): void;
  /** The program of a run is not here. */
  need(execution: number, program: string): void;
  /** Guest code was left: what has gathered may go. */
  pace(): void;
}

/** How much one reply moves the average. */
const REPLY_WEIGHT = 1 / 16;

export class ChildExecutions {
  readonly programs: ChildPrograms;
  /** Executions that came to their end. */
  completed = 0;
  readonly #slots = new SmallMap<Slot>();
  readonly #instances: ChildInstances;
  /** In the order in which they came. */
  readonly #waiting: Waiter[] = [];
  readonly #turns = new Turns();
  /** When guests were first entered in this turn of the event loop; 0 when they were not. */
  #sliceAt = 0;
  #pumping = false;
  /** How long a reply takes, a moving average. */
  #replyMs = 0;
  #pumpTimer: Timer | null = null;
  readonly #expiry = new EarliestTimer(() => this.#expireLate());
  /** What all executions ask of the world. */
  readonly #port: ExecutionPort = {
    hostCall: (execution, call, name, args) => {
      const slot = this.#slots.get(execution);
      if (slot !== undefined) slot.calledAt = performance.now();
      this.output.call(execution, call, name, args);
    },
    setTimer: (execution, timer, ms) => {
      const slot = this.#slots.get(execution);
      if (slot === undefined) return;
      slot.timers ??= new Map();
      slot.timers.set(
        timer,
        setTimeout(() => this.#onTimer(slot, timer), ms),
      );
    },
    clearTimer: (execution, timer) => {
      const timers = this.#slots.get(execution)?.timers;
      clearTimeout(timers?.get(timer));
      timers?.delete(timer);
    },
    now: () => Date.now(),
  };
  readonly #suspended: Suspended;
  /** Swapped out for the last time: that cost what was left of their CPU. */
  readonly #exhausted: Slot[] = [];

  constructor(
    private readonly output: ChildOutput,
    watch: EntryWatch,
    imageBytesMax: number,
    /** How much of the bounds for what waits this machine can afford: 1 from 1 GB of memory on. */
    private readonly memoryShare = 1,
  ) {
    this.programs = new ChildPrograms(imageBytesMax);
    this.#suspended = new Suspended(memoryShare);
    this.#instances = new ChildInstances(watch, () => this.#pump());
  }

  /** Makes the instances. Throws when the engine is not the expected one. */
  open(instances = instancesPerChildMax): Promise<void> {
    return this.#instances.open(instances);
  }

  get running(): number {
    return this.#slots.size;
  }

  /** Memory of instances given up since `collected` was called. */
  get releasedBytes(): number {
    return this.#instances.releasedBytes;
  }

  /** Garbage is collected now. */
  collected(): void {
    this.#instances.releasedBytes = 0;
  }

  /** Gives back what only speed needs; work goes on. */
  trim(): void {
    this.#instances.trim();
  }

  addProgram(program: Program, sourceBytes: number): void {
    this.programs.add(program, sourceBytes);
    for (const slot of this.#slots.values()) {
      if (slot.program === null && slot.execution.header.program === program.id) {
        slot.program = program;
        this.#enqueue(slot);
      }
    }
  }

  run(id: number, header: RunHeader, input: string): void {
    const deadline = performance.now() + header.timeout_ms;
    const slot = makeSlot(new GuestExecution(id, header, input, deadline, this.#port));
    this.#slots.add(id, slot);
    const held = this.programs.use(header.program);
    if (held === null) {
      this.#arm(slot);
      this.output.need(id, header.program);
      return;
    }
    slot.program = held.program;
    this.#enqueue(slot);
  }

  /** The answer to a host call. Nobody waits for it: it is dropped. */
  reply(id: number, reply: { call: number; ok: boolean; json: string }): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || !slot.execution.acceptReply(reply.call)) return;
    this.#replyMs += (performance.now() - slot.calledAt - this.#replyMs) * REPLY_WEIGHT;
    this.#resume(slot, (instance) => instance.settle(slot.execution, reply));
  }

  cancel(id: number): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    slot.execution.expire();
    this.#finish(slot);
  }

  #enqueue(slot: Slot): void {
    if (this.#isFree(appOf(slot))) {
      this.#begin(slot);
      return;
    }
    this.#waiting.push({ slot, isStart: true, go: () => this.#begin(slot) });
    this.#pump();
    if (!slot.begun && this.#slots.has(slot.execution.id)) this.#arm(slot);
  }

  /** An execution of the app can begin at once, before nobody. */
  #isFree(appId: string): boolean {
    if (this.#pumping || this.#waiting.length > 0 || !this.#suspended.admits(appId)) return false;
    return this.#hasTime() && this.#freeInstance() !== null;
  }

  #begin(slot: Slot): void {
    const { execution, program } = slot;
    if (program === null || !this.#slots.has(execution.id)) return;
    const instance = this.#freeInstance();
    if (instance === null) throw new Error("an execution began without an instance");
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
    this.#turns.charge(program.app_id, execution.cpuMs, performance.now());
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
    if (slot.instance !== null && slot.arrived === 0 && this.#hasTime()) {
      this.#goOn(slot, slot.instance, enter);
      return;
    }
    const go = (): void => {
      slot.arrived -= 1;
      const instance = slot.instance ?? this.#swapIn(slot);
      if (instance !== null) this.#goOn(slot, instance, enter);
    };
    slot.arrived += 1;
    this.#waiting.push({ slot, isStart: false, go });
    this.#pump();
  }

  #goOn(slot: Slot, instance: Instance, enter: (instance: Instance) => void): void {
    const { execution } = slot;
    const before = execution.cpuMs;
    if (!execution.ended) enter(instance);
    this.#turns.charge(appOf(slot), execution.cpuMs - before, performance.now());
    this.#advance(slot);
  }

  /** False: it is time to read what has arrived; whatever waits goes on afterwards. */
  #hasTime(): boolean {
    const now = performance.now();
    if (this.#sliceAt !== 0) return now - this.#sliceAt < sliceMs;
    this.#sliceAt = now;
    setImmediate(() => {
      this.#sliceAt = 0;
      if (this.#waiting.length > 0) this.#pump();
    });
    return true;
  }

  /** After an entry: goes on, waits, or is done. */
  #advance(slot: Slot): void {
    const { execution, instance } = slot;
    if (!slot.begun && execution.loaded && !execution.ended && instance !== null) {
      slot.begun = true;
      instance.callHandler(execution);
    }
    const waits = execution.waits || slot.arrived > 0;
    if (!execution.finished && !waits) execution.fail(NEVER);
    if (execution.ended || (execution.finished && slot.arrived === 0)) this.#finish(slot);
    else {
      this.#arm(slot);
      this.#limitResidents(slot);
    }
    this.#relieve();
    this.output.pace();
  }

  /** What waits in place is memory, too: above the bound, large ones wait where it is counted. */
  #limitResidents({ instance }: Slot): void {
    if (instance === null || !instance.grown) return;
    if (this.#instances.largeResidentBytes <= residentBytesMax * this.memoryShare) return;
    this.#swapOut(instance);
    this.#instances.replace(instance);
  }

  /** Ends what has waited for the last time, and what takes more memory than there is for waiting. */
  #relieve(): void {
    for (const slot of this.#exhausted.splice(0)) this.#finish(slot);
    for (let app = this.#suspended.excess; app !== null; app = this.#suspended.excess) {
      const largest = this.#largestOf(app);
      if (largest === null) return;
      largest.execution.exceed("memory_mb");
      this.#finish(largest);
    }
  }

  #largestOf(appId: string): Slot | null {
    let largest: Slot | null = null;
    let bytes = 0;
    for (const slot of this.#slots.values()) {
      if (slot.swapped === null || appOf(slot) !== appId) continue;
      if (imageBytes(slot.swapped) <= bytes) continue;
      largest = slot;
      bytes = imageBytes(slot.swapped);
    }
    return largest;
  }

  #onTimer(slot: Slot, timer: number): void {
    slot.timers?.delete(timer);
    if (!slot.execution.acceptFire(timer)) return;
    this.#resume(slot, (instance) => instance.fire(slot.execution, timer));
  }

  /** The wall limit, for an execution that waits. */
  #arm(slot: Slot): void {
    this.#expiry.set(slot.execution.deadline);
  }

  #expireLate(): void {
    const now = performance.now();
    for (const { execution } of this.#slots.values()) {
      if (execution.deadline <= now) this.cancel(execution.id);
      else this.#expiry.set(execution.deadline);
    }
  }

  #finish(slot: Slot): void {
    const { execution, instance } = slot;
    if (!this.#slots.delete(execution.id)) return;
    if (this.#slots.size === 0) this.#expiry.clear();
    if (slot.timers !== null) for (const timer of slot.timers.values()) clearTimeout(timer);
    if (slot.swapped !== null) this.#unsuspend(slot, slot.swapped);
    slot.instance = null;
    if (instance !== null) this.#instances.release(instance);
    const { header, body } = execution.done();
    this.completed += 1;
    this.output.done(execution.id, header, body);
    this.#pump();
  }

  /** Lets what waits go on, as far as there are instances and time. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let at = this.#nextWaiter(); at !== -1 && this.#hasTime(); at = this.#nextWaiter()) {
      const waiter = this.#waiting[at] as Waiter;
      const isGone = !this.#slots.has(waiter.slot.execution.id);
      if (!isGone && waiter.slot.instance === null && this.#freeInstance() === null) break;
      this.#waiting.splice(at, 1);
      if (!isGone) waiter.go();
    }
    this.#pumping = false;
  }

  /** Who came first, of the app that has used least; -1 for nobody. */
  #nextWaiter(): number {
    const now = performance.now();
    let next = -1;
    let least = Number.POSITIVE_INFINITY;
    for (let at = 0; at < this.#waiting.length; at += 1) {
      const { slot, isStart } = this.#waiting[at] as Waiter;
      const app = appOf(slot);
      if (isStart && !this.#suspended.admits(app)) continue;
      const used = this.#turns.used(app, now);
      if (used >= least) continue;
      next = at;
      least = used;
    }
    return next;
  }

  #pumpLater(ms: number): void {
    this.#pumpTimer ??= setTimeout(() => {
      this.#pumpTimer = null;
      this.#pump();
    }, ms);
  }

  #swapIn(slot: Slot): Instance | null {
    const { swapped, program, execution } = slot;
    const instance = this.#freeInstance();
    if (instance === null || swapped === null || program === null) return null;
    slot.instance = instance;
    instance.swapIn(execution, program, swapped);
    this.#unsuspend(slot, swapped);
    return instance;
  }

  /**
   * An empty instance; the one whose execution has waited longest is swapped out for it. Null when
   * there is none yet: then what waits is looked at again as soon as there may be one.
   */
  #freeInstance(): Instance | null {
    const instance = this.#instances.next();
    if (instance === null || instance.resident === null) return instance;
    const ms = emptiableAt(instance) - performance.now();
    if (ms > 0 && this.#replyMs < replyMsMax) {
      this.#pumpLater(ms);
      return null;
    }
    this.#swapOut(instance);
    if (!instance.grown) return instance;
    // Its successor is a millisecond away: no other is put out for that.
    this.#instances.replace(instance);
    return null;
  }

  #swapOut(instance: Instance): void {
    const slot = instance.resident === null ? undefined : this.#slots.get(instance.resident.id);
    const image = instance.swapOut((bytes) => this.#suspended.take(bytes));
    if (slot === undefined) {
      this.#suspended.give(image.bytes);
      return;
    }
    slot.instance = null;
    slot.swapped = image;
    this.#suspended.add(appOf(slot), imageBytes(image));
    if (slot.execution.ended) this.#exhausted.push(slot);
  }

  #unsuspend(slot: Slot, image: Image): void {
    slot.swapped = null;
    this.#suspended.remove(appOf(slot), imageBytes(image));
    this.#suspended.give(image.bytes);
  }
}

const NEVER = {
  name: "Error",
  message: "The handler waits for something that can never happen",
  stack: "",
};
