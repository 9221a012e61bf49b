/** What a dispatcher is told of one attempt to run a handler. */
import type { DeliveryError } from "../domain/dead-letters.ts";
import type { ExecutionStatus } from "../domain/executions.ts";
import type { InvocationResult } from "./api.ts";

export interface DeliveryReport {
  execution_id: string;
  status: ExecutionStatus;
  /**
   * The attempt counts. False only when nobody is to blame: there was no slot, the server is stopping, the
   * database is away, or the sandbox was lost before it entered guest code.
   */
  counts: boolean;
  /** Null when the handler succeeded. */
  error: DeliveryError | null;
  /** Null when there is none. */
  result: InvocationResult | null;
  /** Epoch ms. */
  started_at: number;
  duration_ms: number;
  /** There are results of `tx` to delete when the delivery is settled. */
  has_results: boolean;
}
