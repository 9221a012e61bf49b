/**
 * Counters that do not depend on the machine's speed: what a request costs in statements, messages
 * and bytes. Tests assert them, so that no change makes them worse unseen.
 */
export const counters = {
  /** SQL statements executed, on any connection. */
  sqlStatements: 0,
  /** Transactions committed. */
  commits: 0,
  /** fdatasync calls on the database's write-ahead log. */
  fsyncs: 0,
  /** Frames sent to sandbox children. */
  ipcSent: 0,
  /** Frames received from sandbox children. */
  ipcReceived: 0,
  /** Socket writes to sandbox children (frames are coalesced). */
  ipcWrites: 0,
  /** Child processes started. */
  childrenStarted: 0,
  /** Child processes killed from outside. */
  childrenKilled: 0,
};

export type CounterName = keyof typeof counters;

/** A copy of all counters, to subtract from a later copy. */
export function snapshotCounters(): Record<CounterName, number> {
  return { ...counters };
}

/** What changed since `before`. */
export function countersSince(before: Record<CounterName, number>): Record<CounterName, number> {
  const diff = { ...counters };
  for (const name of Object.keys(diff) as CounterName[]) diff[name] -= before[name];
  return diff;
}
