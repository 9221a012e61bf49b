/**
 * What Linux tells about a process. Every function answers null when the process is gone or the
 * system does not say: the pool then does without.
 */
import { readFileSync } from "node:fs";

/** USER_HZ, the unit of CPU times under /proc: 100 on every Linux that we support. */
const TICK_MS = 10;

/** Memory that belongs to this process alone, bytes (anonymous pages: what it would give back). */
export function privateBytes(pid: number): number | null {
  const found = read(`/proc/${pid}/status`)?.match(/^RssAnon:\s+(\d+) kB$/m);
  return found ? Number(found[1]) * 1024 : null;
}

/** CPU used by the first thread, the one that runs guest code, milliseconds in steps of 10. */
export function mainThreadCpuMs(pid: number): number | null {
  const text = read(`/proc/${pid}/task/${pid}/stat`);
  if (text === null) return null;
  // The second field is a name in brackets that may itself hold spaces and brackets.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  return Number.isFinite(ticks) ? ticks * TICK_MS : null;
}

/** How many processes the kernel has killed for want of memory since boot. */
export function oomKills(): number | null {
  const found = read("/proc/vmstat")?.match(/^oom_kill (\d+)$/m);
  return found ? Number(found[1]) : null;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}
