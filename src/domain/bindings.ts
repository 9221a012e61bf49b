/**
 * A binding is what a host call does. The sandbox knows this interface and never a binding; a
 * binding knows its context and never the sandbox.
 */
import type { DeliveryClaim } from "./events.ts";

/** What a handler's host calls need to know of what they handle. */
export interface DeliveryContext extends DeliveryClaim {
  readonly depth: number;
  readonly root_execution_id: string;
  /** Set by `tx`: there are results to delete when the delivery is settled. */
  has_results: boolean;
}

export interface BindingContext {
  /** From the execution, never from the script: no value a script supplies can name another app. */
  readonly app_id: string;
  readonly script_id: string;
  readonly execution_id: string;
  /** The delivery whose handler this is; null for what a caller waits for. */
  readonly delivery: DeliveryContext | null;
  /** The newest commit this execution has seen or made; its response waits until that is durable. */
  readonly seen: { seq: number };
}

export interface BindingMethod {
  /** True when a second run of the same call could be noticed: such an execution is never retried. */
  readonly effect: boolean;
  /**
   * @param args the JSON value the guest sent: hostile, validate every member.
   * @returns a JSON value. Throws PicError for what the script may catch by its `code`.
   */
  call(cx: BindingContext, args: unknown): Promise<unknown>;
}

/** `kv` → { get, set, … }; the guest calls `kv.get`. */
export interface Binding {
  readonly name: string;
  readonly methods: Readonly<Record<string, BindingMethod>>;
}
