/** What a process and all its descendants cost, read from /proc (Linux). */
import { readdirSync, readFileSync } from "node:fs";

export interface TreeUsage {
  processes: number;
  /** Proportional set size, megabytes (2^20). */
  pss_mb: number;
  /** Private dirty pages, megabytes. */
  private_mb: number;
  /** CPU time so far, milliseconds. */
  cpu_ms: number;
  /** Bytes that were handed to the storage layer. */
  write_bytes: number;
}

const clockTickMs = 10;

/** `root` and its descendants, as process ids. */
export function processTree(root: number): number[] {
  const parents = new Map<number, number>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = readText(`/proc/${entry}/stat`);
    if (stat !== null) parents.set(Number(entry), Number(afterName(stat)[1]));
  }
  const tree = [root];
  for (let index = 0; index < tree.length; index += 1) {
    for (const [pid, parent] of parents) if (parent === tree[index]) tree.push(pid);
  }
  return tree;
}

export function treeUsage(root: number): TreeUsage {
  const usage: TreeUsage = { processes: 0, pss_mb: 0, private_mb: 0, cpu_ms: 0, write_bytes: 0 };
  for (const pid of processTree(root)) {
    const rollup = readText(`/proc/${pid}/smaps_rollup`);
    const stat = readText(`/proc/${pid}/stat`);
    if (rollup === null || stat === null) continue;
    const fields = afterName(stat);
    usage.processes += 1;
    usage.pss_mb += field(rollup, "Pss") / 1024;
    usage.private_mb += field(rollup, "Private_Dirty") / 1024;
    usage.cpu_ms += (Number(fields[11]) + Number(fields[12])) * clockTickMs;
    const io = readText(`/proc/${pid}/io`);
    if (io !== null) usage.write_bytes += field(io, "write_bytes");
  }
  return usage;
}

/** The fields of /proc/<pid>/stat after the name in parentheses: state first, then the parent. */
function afterName(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function field(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null; // the process has ended
  }
}
