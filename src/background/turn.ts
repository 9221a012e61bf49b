/** One turn of the dispatcher: everything that is due, in one transaction. */
import type { Delivery } from "../domain/events.ts";
import { leaseMs } from "../domain/limits.ts";
import { claimDeliveries, noteHeld, renewLease } from "../storage/outbox.ts";
import type { Seen, Tx } from "../storage/port.ts";
import type { PlannedClaim } from "./due-apps.ts";
import { type Settlement, type SettleOptions, settle } from "./settle.ts";

/** Where tests make a dispatcher fail. What concerns claims and settlements is tried once a turn. */
export type DispatcherStep =
  | "before_claim"
  | "after_claim"
  | "before_execute"
  | "after_execute"
  | "before_settle"
  | "after_settle";

export interface Turn {
  settlements: readonly Settlement[];
  claims: readonly PlannedClaim[];
  /** Whose leases are to be renewed. */
  renewals: readonly Delivery[];
  /** What is held besides: its handlers run, or its settlement failed. */
  held: readonly Delivery[];
  /** What was read ahead: not to be claimed again, and nobody's yet. */
  ahead: readonly Delivery[];
}

export interface TurnOptions extends SettleOptions {
  /** Names the holder of what is claimed. */
  owner: string;
  failpoint?: ((name: DispatcherStep) => void) | undefined;
}

export interface Claimed extends PlannedClaim {
  deliveries: Delivery[];
  /** How long until the app has more, 0 for now; null when it has none. */
  more_ms: number | null;
}

export interface TurnResult {
  /** Its commit. */
  seen: Seen;
  settled: Settlement[];
  /** What somebody else has claimed since, or what was deleted. */
  lost: Delivery[];
  claimed: Claimed[];
}

export function isEmpty({ settlements, claims, renewals }: Turn): boolean {
  return settlements.length + claims.length + renewals.length === 0;
}

/** Every part of a turn as a turn of its own. */
export function partsOf({ settlements, claims, renewals, held, ahead }: Turn): Turn[] {
  // What is not settled yet is not to be claimed either.
  const all = [...held, ...settlements.map(({ delivery }) => delivery)];
  const nothing = { settlements: [], claims: [], renewals: [], held: all, ahead };
  return [
    ...settlements.map((one) => ({ ...nothing, settlements: [one], held: without(all, one) })),
    ...claims.map((one) => ({ ...nothing, claims: [one] })),
    ...(renewals.length === 0 ? [] : [{ ...nothing, renewals }]),
  ];
}

function without(all: readonly Delivery[], { delivery }: Settlement): Delivery[] {
  return all.filter((one) => one !== delivery);
}

/**
 * Resolves at the commit. Throws what the database throws, and then nothing has happened, unless it is not known whether the commit succeeded.
 * @param now on the clock that waits are told by
 */
export async function transact(options: TurnOptions, turn: Turn, now: number): Promise<TurnResult> {
  const { db, failpoint } = options;
  const { settlements, claims, renewals } = turn;
  const seen = { seq: 0 };
  const taken = [...turn.held, ...turn.ahead];
  const result = await db.tx(
    async (tx) => {
      if (settlements.length > 0) failpoint?.("before_settle");
      if (claims.length > 0) failpoint?.("before_claim");
      // All are sent before the first is answered: one round trip on a network, not one for each.
      const [held, kept, claimed] = await Promise.all([
        Promise.all(settlements.map((one) => settle(tx, options, one, now))),
        Promise.all(
          renewals.map((one) => renewLease(tx, db.outbox, { ...one, now, lease_ms: leaseMs })),
        ),
        Promise.all(claims.map((one) => claim(tx, options, one, { now, taken }))),
      ]);
      if (db.outbox.claimsInMemory && settlements.length + claims.length > 0) {
        await noteHeld(tx, [...turn.held, ...claimed.flatMap(begun)]);
      }
      if (claims.length > 0) failpoint?.("after_claim");
      return {
        settled: settlements.filter((_, index) => held[index]),
        lost: [
          ...settlements.filter((_, index) => !held[index]).map(({ delivery }) => delivery),
          ...renewals.filter((_, index) => !kept[index]),
        ],
        claimed,
      };
    },
    { seen },
  );
  return { ...result, seen };
}

/** What of a claim is begun at once. */
export function begun({ deliveries, limit }: Claimed): Delivery[] {
  return deliveries.slice(0, limit);
}

async function claim(
  tx: Tx,
  { db, owner }: TurnOptions,
  { app_id, limit, ahead }: PlannedClaim,
  { now, taken }: { now: number; taken: readonly Delivery[] },
): Promise<Claimed> {
  const own = taken.filter((one) => one.app_id === app_id);
  const wanted = { app_id, owner, now, limit: limit + ahead };
  const deliveries = await claimDeliveries(tx, db.outbox, wanted, own);
  const claimed = { app_id, limit, ahead, deliveries };
  if (deliveries.length === wanted.limit) return { ...claimed, more_ms: 0 };
  const next = await tx.get(db.outbox.msUntilDue(app_id, now));
  return { ...claimed, more_ms: next?.ms ?? null };
}
