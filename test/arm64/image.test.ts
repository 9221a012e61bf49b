/**
 * The files of the ARM64 image, put together as Dockerfile.arm64 has it: small, readable by the user
 * who runs them, and sufficient: the emulator takes the loader, the libraries and the shell from
 * there alone. `scripts/test --boards` boots the same folder.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execWords, lastValue, readDockerfile } from "../../scripts/dockerfile.ts";
import { assembleRootfs } from "../../scripts/rootfs.ts";
import { startServer } from "../e2e/server.ts";

const executable = process.env.PICLOUD_TEST_ARM64 ?? "";
const [emulator = ""] = (process.env.PICLOUD_TEST_RUNNER ?? "").split(" ");
const msMax = 120_000;
/** Beside the executable, which has a size of its own. */
const extraBytesMax = 8 * 1024 * 1024;

// scripts/test sets this where Debian's packages could be had. The emulator shows that nothing of this
// machine's own ARM64 libraries is needed.
const isProvided = process.env.PICLOUD_TEST_IMAGE === "1" && executable !== "" && emulator !== "";

describe.skipIf(!isProvided)("the files of the image", () => {
  let scratch = "";
  let rootfs = "";

  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), "picloud-image-"));
    rootfs = `${scratch}/rootfs`;
    // Whoever builds it may be stricter than what the image's user needs.
    const umask = process.umask(0o077);
    try {
      await assembleRootfs({ folder: rootfs, executable });
    } finally {
      process.umask(umask);
    }
  }, msMax);
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  test("are the executable and a few megabytes, and everybody may read them", () => {
    let bytes = 0;
    for (const name of new Bun.Glob("**/*").scanSync({ cwd: rootfs, onlyFiles: false })) {
      const stat = lstatSync(`${rootfs}/${name}`);
      if (stat.isSymbolicLink()) continue;
      expect({ name, readable: (stat.mode & 0o004) !== 0 }).toEqual({ name, readable: true });
      if (stat.isDirectory()) expect(stat.mode & 0o001).toBe(1);
      else bytes += stat.size;
    }
    expect(bytes - statSync(executable).size).toBeLessThan(extraBytesMax);
    expect(statSync(`${rootfs}/tmp`).mode & 0o1777).toBe(0o1777);
  });

  test("hold every library that the executable names, and the licences", () => {
    const libraries = readdirSync(`${rootfs}/usr/lib/aarch64-linux-gnu`);
    for (const name of neededLibraries(executable)) expect(libraries).toContain(name);
    for (const name of ["libc6", "gcc-14-base", "busybox-static"]) {
      expect(statSync(`${rootfs}/usr/share/doc/${name}/copyright`).size).toBeGreaterThan(500);
    }
  });

  test("are refused when the folder is in use", async () => {
    await expect(assembleRootfs({ folder: rootfs, executable })).rejects.toThrow("not empty");
  });

  test(
    "serve, answer the image's health check, and fail it when nobody listens",
    async () => {
      const runner = [emulator, "-L", rootfs];
      const command = [...runner, `${rootfs}/usr/local/bin/picloud`];
      const dataDir = `${scratch}/data`;
      mkdirSync(dataDir);
      const env = { PICLOUD_CHILD_PREFIX: runner.join(" "), PICLOUD_SANDBOXES: "1" };
      await using server = await startServer({ command, dataDir, env, readyMsMax: 60_000 });
      expect(await health(runner, server.url.replace(/^.*:/, "0.0.0.0:"))).toBe(0);
      expect(await health(runner, "0.0.0.0:1")).not.toBe(0);
    },
    msMax,
  );

  /** The exit code of the check, by the image's own shell. */
  async function health(runner: string[], bind: string): Promise<number> {
    const text = readFileSync(resolve(import.meta.dir, "../../Dockerfile.arm64"), "utf8");
    const image = readDockerfile(text).at(-1);
    const value = image === undefined ? null : lastValue(image, "HEALTHCHECK");
    const [, , script = ""] = execWords(value?.match(/CMD (\[.*\])$/)?.[1] ?? null);
    // No kernel for ARM64 here: wget is run as the applet of the shell that would start it.
    const inside = script.replace(/^wget /, `exec ${runner.join(" ")} ${rootfs}/bin/busybox wget `);
    const child = Bun.spawn([...runner, `${rootfs}/bin/busybox`, "sh", "-c", inside], {
      env: { PICLOUD_BIND: bind },
      stdio: ["ignore", "ignore", "ignore"],
    });
    return child.exited;
  }
});

/** The DT_NEEDED entries, as readelf prints them, read from the file: little-endian, 64 bits. */
function neededLibraries(path: string): string[] {
  const file = readFileSync(path);
  const number = (at: number): number => Number(file.readBigUInt64LE(at));
  const heads = Array.from(
    { length: file.readUInt16LE(56) },
    (_, index) => number(32) + index * 56,
  );
  const dynamic = heads.find((at) => file.readUInt32LE(at) === 2) ?? 0;
  const tags: [tag: number, value: number][] = [];
  for (let at = number(dynamic + 8); number(at) !== 0; at += 16)
    tags.push([number(at), number(at + 8)]);
  const address = tags.find(([tag]) => tag === 5)?.[1] ?? 0;
  const segment = heads.find((at) => {
    const isLoaded = file.readUInt32LE(at) === 1 && number(at + 16) <= address;
    return isLoaded && address < number(at + 16) + number(at + 32);
  });
  if (segment === undefined) throw new Error("no table of names");
  const table = address - number(segment + 16) + number(segment + 8);
  return tags
    .filter(([tag]) => tag === 1)
    .map(([, at]) => file.toString("utf8", table + at, file.indexOf(0, table + at)));
}
