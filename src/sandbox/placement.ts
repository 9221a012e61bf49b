/** Where an execution runs. Pure rules over what a child shows of itself. */
import { placementImbalanceMax } from "../domain/limits.ts";

export interface Placeable {
  readonly role: string;
  /** Ready, and with room for one more. */
  readonly open: boolean;
  readonly blocked: boolean;
  readonly load: number;
  holds(programId: string): boolean;
}

/**
 * The regular child that holds the program's image, unless another has much less to do; when all
 * regular ones are blocked, the spare. Null: nowhere now, and waiting is better than queueing behind
 * an execution that keeps its child busy.
 *
 * `hogging`: an execution of the same app keeps a child busy. Such an app may take another regular
 * child only while a spare is left for the others, and the spare never.
 */
export function choosePlace<P extends Placeable>(
  places: Iterable<P>,
  programId: string,
  hogging: boolean,
): P | null {
  let least: P | null = null;
  let holder: P | null = null;
  let spare: P | null = null;
  for (const place of places) {
    if (!place.open || place.blocked) continue;
    if (place.role === "spare") spare = place;
    if (place.role !== "regular") continue;
    if (least === null || place.load < least.load) least = place;
    if (place.holds(programId) && (holder === null || place.load < holder.load)) holder = place;
  }
  if (hogging && (least === null || spare === null)) return null;
  if (least === null) return spare;
  if (holder !== null && holder.load - least.load <= placementImbalanceMax) return holder;
  return least;
}
