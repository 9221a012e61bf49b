/**
 * Memory this process may use, bytes: the machine's, or less when a control group (systemd's
 * MemoryMax, a container) says so. Zero when nothing can be read.
 */
export function machineMemoryBytes(readFile: (path: string) => string): number {
  const lines = (path: string): string[] => {
    try {
      return readFile(path).split("\n");
    } catch {
      return [];
    }
  };
  const total = lines("/proc/meminfo").find((text) => text.startsWith("MemTotal:"));
  const bounds = [Number(total?.match(/\d+/)?.[0] ?? 0) * 1024];
  const groups = lines("/proc/self/cgroup");
  const unified = groups.find((text) => text.startsWith("0::"))?.slice(3) ?? "/";
  const legacy = groups.find((text) => text.split(":")[1]?.split(",").includes("memory"));
  for (const folder of ancestors(unified)) {
    bounds.push(Number(lines(`/sys/fs/cgroup${folder}/memory.max`)[0]));
  }
  for (const folder of ancestors(legacy?.split(":")[2] ?? "/")) {
    bounds.push(Number(lines(`/sys/fs/cgroup/memory${folder}/memory.limit_in_bytes`)[0]));
  }
  const known = bounds.filter((bytes) => Number.isFinite(bytes) && bytes > 0);
  return known.length === 0 ? 0 : Math.min(...known);
}

/** `/a/b` → `/a/b`, `/a`, and the root as the empty text. */
function ancestors(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "");
  return Array.from({ length: parts.length + 1 }, (_, dropped) =>
    parts
      .slice(0, parts.length - dropped)
      .map((part) => `/${part}`)
      .join(""),
  );
}
