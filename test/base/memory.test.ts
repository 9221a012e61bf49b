import { describe, expect, test } from "bun:test";
import { machineMemoryBytes } from "../../src/base/memory.ts";

function readFrom(files: Record<string, string>): (path: string) => string {
  return (path) => {
    const text = files[path];
    if (text === undefined) throw new Error(`ENOENT ${path}`);
    return text;
  };
}

describe("memory", () => {
  const gb = 1024 ** 3;
  const meminfo = { "/proc/meminfo": "MemTotal:        4194304 kB\nMemFree: 1 kB\n" };

  test("is the machine's when no control group bounds it", () => {
    expect(machineMemoryBytes(readFrom(meminfo))).toBe(4 * gb);
    expect(machineMemoryBytes(readFrom({}))).toBe(0);
  });

  test("is the smallest bound among the group and its ancestors, in both kinds of hierarchy", () => {
    const unified = {
      ...meminfo,
      "/proc/self/cgroup": "0::/system.slice/picloud.service\n",
      "/sys/fs/cgroup/system.slice/picloud.service/memory.max": "max\n",
      "/sys/fs/cgroup/system.slice/memory.max": `${gb / 2}\n`,
    };
    expect(machineMemoryBytes(readFrom(unified))).toBe(gb / 2);
    const legacy = {
      ...meminfo,
      "/proc/self/cgroup": "4:memory:/docker/abc\n0::/\n",
      "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": `${gb}\n`,
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    };
    expect(machineMemoryBytes(readFrom(legacy))).toBe(gb);
    expect(
      machineMemoryBytes(readFrom({ ...meminfo, "/sys/fs/cgroup/memory.max": `${gb}\n` })),
    ).toBe(gb);
  });
});
