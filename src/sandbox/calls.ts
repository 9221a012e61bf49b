/**
 * Host calls on the parent's side: a name and JSON text come from a child, the binding's method runs
 * with the context of the execution (never with anything the guest says about itself), the answer
 * goes back. What arrives for an attempt that is over is dropped.
 *
 * Bounded: calls of one execution, those of them that run at once, the bytes of one call's
 * arguments, and what a child that does not read may have waiting.
 */
import type { Logger } from "../base/log.ts";
import type { Binding, BindingMethod } from "../domain/bindings.ts";
import { PicError } from "../domain/errors.ts";
import { childBacklogBytesMax, hostCallBytesMax, hostCallsInFlightMax } from "../domain/limits.ts";
import { FrameError, joinPayload, splitPayload } from "./frames.ts";
import { FRAME_REPLY, readCallHeader, replyHeader } from "./protocol.ts";
import type { Seat } from "./seat.ts";
import type { Task, WaitingCall } from "./task.ts";

export interface HostCallsOptions {
  bindings: readonly Binding[];
  log: Logger;
  newId: () => string;
}

/** One call under way: where its answer goes, as long as the attempt lasts. */
interface CallSite {
  seat: Seat;
  number: number;
  task: Task;
  attempt: number;
  call: number;
}

export class HostCalls {
  readonly #methods = new Map<string, BindingMethod>();

  constructor(private readonly options: HostCallsOptions) {
    for (const binding of options.bindings) {
      for (const [name, method] of Object.entries(binding.methods)) {
        this.#methods.set(`${binding.name}.${name}`, method);
      }
    }
  }

  /** A CALL frame of an execution that is here. Throws FrameError when it does not have the form. */
  receive(seat: Seat, number: number, task: Task, payload: string): void {
    const { header, text } = splitPayload(payload);
    const { call, name } = readCallHeader(header);
    if (!Number.isSafeInteger(call)) {
      throw new FrameError("a CALL frame without a call number and a name");
    }
    task.entered = true;
    task.waits();
    task.hostCalls += 1;
    const { host_calls } = task.job.limits;
    if (task.hostCalls > host_calls) {
      const site = { seat, number, task, attempt: task.attempt, call };
      const refusal = new PicError("host_call_budget", `more than ${host_calls} host calls`);
      this.#answer(site, false, describe(refusal));
      return;
    }
    const waiting = { call, name, args: text };
    if (task.waitingCalls.length === 0 && mayStart(seat, task)) {
      this.#start({ seat, number, task, attempt: task.attempt, call }, waiting);
    } else task.waitingCalls.push(waiting);
  }

  /** Starts what waits, as far as the bounds allow. */
  pump(seat: Seat, number: number, task: Task): void {
    while (task.waitingCalls.length > 0 && mayStart(seat, task)) {
      const waiting = task.waitingCalls.shift() as WaitingCall;
      this.#start({ seat, number, task, attempt: task.attempt, call: waiting.call }, waiting);
    }
  }

  #start(site: CallSite, waiting: WaitingCall): void {
    const { task } = site;
    const refusal = this.#refusal(waiting);
    if (refusal !== null) {
      this.#answer(site, false, describe(refusal));
      return;
    }
    const method = this.#methods.get(waiting.name) as BindingMethod;
    let args: unknown;
    try {
      args = JSON.parse(waiting.args);
    } catch {
      this.#answer(site, false, describe(new PicError("invalid", "arguments are not JSON")));
      return;
    }
    task.callsInFlight += 1;
    if (method.effect) task.effects = true;
    void this.#run(site, waiting.name, method, args);
  }

  async #run(site: CallSite, name: string, method: BindingMethod, args: unknown): Promise<void> {
    const { task } = site;
    try {
      const value = await method.call(task.job.cx, args);
      this.#answer(site, true, JSON.stringify(value) ?? "null");
    } catch (error) {
      this.#answer(site, false, this.#errorText(error, name, task));
    }
    // A later attempt counts its own.
    if (task.attempt !== site.attempt) return;
    task.callsInFlight -= 1;
    this.pump(site.seat, site.number, task);
    if (task.finished !== null && task.callsInFlight === 0) task.settle(task.finished);
  }

  #refusal(waiting: WaitingCall): PicError | null {
    if (!this.#methods.has(waiting.name)) {
      return new PicError(
        "not_found",
        `no host call is named ${JSON.stringify(waiting.name.slice(0, 100))}`,
      );
    }
    if (Buffer.byteLength(waiting.args) > hostCallBytesMax) {
      return new PicError("invalid", `arguments of more than ${hostCallBytesMax} bytes`);
    }
    return null;
  }

  #answer(site: CallSite, ok: boolean, text: string): void {
    const { seat, number, task } = site;
    if (seat.condemned || task.attempt !== site.attempt || seat.running.get(number) !== task)
      return;
    try {
      seat.process.send(FRAME_REPLY, number, joinPayload(replyHeader(site.call, ok), text));
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#answer(site, false, describe(new PicError("invalid", "the answer is too large")));
    }
  }

  /** What the guest sees of a failure: all of an expected one, nothing of a defect but its id. */
  #errorText(error: unknown, name: string, task: Task): string {
    if (error instanceof PicError) return describe(error);
    const id = this.options.newId();
    const { app_id, script_id, execution_id } = task.job.cx;
    this.options.log.error("a host call failed", {
      error_id: id,
      host_call: name,
      app_id,
      script_id,
      execution_id,
      error,
    });
    return describe(new PicError("internal", `Internal error (${id})`));
  }
}

function mayStart(seat: Seat, task: Task): boolean {
  return (
    task.callsInFlight < hostCallsInFlightMax &&
    !seat.condemned &&
    seat.process.pendingBytes < childBacklogBytesMax
  );
}

function describe(error: PicError): string {
  return JSON.stringify({ name: error.name, message: error.message, code: error.code });
}
