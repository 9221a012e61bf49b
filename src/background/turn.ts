/** One turn of the dispatcher: everything that is due, in one transaction. */
import type { Delivery } from "../domain/events.ts";
import { leaseMs } from "../domain/limits.ts";
import { claimDeliveries, renewLease } from "../storage/outbox.ts";
import type { Tx } from "../storage/port.ts";
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
  settled: Settlement[];
  /** What somebody else has claimed since, or what was deleted. */
  lost: Delivery[];
  claimed: Claimed[];
}

export function isEmpty({ settlements, claims, renewals }: Turn): boolean {
  return settlements.length + claims.length + renewals.length === 0;
}

/** Every part of a turn as a turn of its own. */
export function partsOf({ settlements, claims, renewals }: Turn): Turn[] {
  return [
    ...settlements.map((one) => ({ settlements: [one], claims: [], renewals: [] })),
    ...claims.map((one) => ({ settlements: [], claims: [one], renewals: [] })),
    ...(renewals.length === 0 ? [] : [{ settlements: [], claims: [], renewals }]),
  ];
}

/**
 * Resolves at the commit; what was settled becomes durable by itself, soon. Throws what the database
 * throws, and then nothing has happened, unless it is not known whether the commit succeeded.
 * @param now on the clock that waits are told by
 */
export async function transact(options: TurnOptions, turn: Turn, now: number): Promise<TurnResult> {
  const { db, log, failpoint } = options;
  const { settlements, claims, renewals } = turn;
  const seen = { seq: 0 };
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
        Promise.all(claims.map((one) => claim(tx, options, one, now))),
      ]);
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
  if (settlements.length > 0) {
    // Whoever is told of a failure is told by the database: it ends the process.
    db.durable(seen).catch((error) => log.debug("a settlement may be undone", { error }));
  }
  return result;
}

async function claim(
  tx: Tx,
  { db, owner }: TurnOptions,
  { app_id, limit }: PlannedClaim,
  now: number,
): Promise<Claimed> {
  const deliveries = await claimDeliveries(tx, db.outbox, { app_id, owner, now, limit });
  if (deliveries.length === limit) return { app_id, limit, deliveries, more_ms: 0 };
  const next = await tx.get(db.outbox.msUntilDue(app_id, now));
  return { app_id, limit, deliveries, more_ms: next?.ms ?? null };
}
