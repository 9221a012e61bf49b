/** Dockerfile.arm64 keeps its word: pinned, without rights, without secrets, and in step with the product. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import {
  environmentOf,
  execWords,
  lastValue,
  readDockerfile,
  type Stage,
} from "../../scripts/dockerfile.ts";
import { imageUser } from "../../scripts/rootfs.ts";
import { drainMsMax } from "../../src/domain/limits.ts";

const root = resolve(import.meta.dir, "../..");
const text = readFileSync(`${root}/Dockerfile.arm64`, "utf8");
const stages = readDockerfile(text);
const image = stages.at(-1) as Stage;
const settings = readFileSync(`${root}/README.md`, "utf8");

describe("the image", () => {
  test("begins with nothing, and every other stage with an image of a fixed release", () => {
    expect(image.from).toBe("scratch");
    for (const { from } of stages.slice(0, -1))
      expect(from).toMatch(/^[a-z/]+:\d+(\.\d+)*-[a-z-]+$/);
  });

  test("runs as a user without rights, named by a number, to whom alone its data belongs", () => {
    const owner = `${imageUser}:${imageUser}`;
    expect(lastValue(image, "USER")).toBe(owner);
    expect(imageUser).toBeGreaterThanOrEqual(1_000);
    const last = image.instructions.findLast(({ name }) => name === "COPY");
    expect(last?.value).toBe(`--from=build --chown=${owner} /data ${lastValue(image, "VOLUME")}`);
  });

  test("holds no command of a shell, nothing fetched by address, and no secret", () => {
    const names = stages.flatMap(({ instructions }) => instructions.map(({ name }) => name));
    expect(names).not.toContain("ADD");
    expect(names).not.toContain("ARG");
    expect(image.instructions.some(({ name }) => name === "RUN")).toBe(false);
    expect(Object.keys(environmentOf(image)).join()).not.toMatch(/PASSWORD|TOKEN|SECRET|KEY|URL/);
  });

  test("sets only what the product knows, and opens the ports that it listens on", () => {
    const { PATH, ...env } = environmentOf(image);
    expect(PATH?.split(":")).toContain("/usr/local/bin");
    for (const name of Object.keys(env)) expect(settings).toContain(`| \`${name}\` |`);
    expect(env.PICLOUD_DATA_DIR).toBe(lastValue(image, "VOLUME") ?? "none");
    const port = env.PICLOUD_BIND?.split(":")[1];
    const [, adminPort] =
      settings.match(/`PICLOUD_ADMIN_BIND` \| host:port \| `[\d.]+:(\d+)`/) ?? [];
    expect(lastValue(image, "EXPOSE")).toBe(`${port} ${adminPort}`);
  });

  test("is stopped by the signal that ends requests in order, and is given the time for it", () => {
    expect(lastValue(image, "STOPSIGNAL")).toBe("SIGTERM");
    const seconds = Number(text.match(/--stop-timeout (\d+)/)?.[1]);
    expect(seconds * 1_000).toBeGreaterThan(drainMsMax + 2_000);
    expect(execWords(lastValue(image, "ENTRYPOINT"))).toEqual(["/usr/local/bin/picloud"]);
    expect(execWords(lastValue(image, "CMD"))).toEqual(["serve"]);
  });

  test("is built by scripts that are there, without what the repository ignores", () => {
    const [first] = stages;
    const run = lastValue(first, "RUN");
    const [script = ""] = run?.split(" ") ?? [];
    expect(existsSync(`${root}/${script}`)).toBe(true);
    const ignored = readFileSync(`${root}/.dockerignore`, "utf8").split("\n");
    for (const folder of [".git", ".cache", "dist", "node_modules", "picloud-data"]) {
      expect(ignored).toContain(folder);
    }
  });
});

describe("reading a Dockerfile", () => {
  test("joins continued lines, drops comments and keeps stages apart", () => {
    const [one, two, ...none] = readDockerfile(
      "# first\nfrom --platform=x a:1 as one\nRUN a \\\n  # inside\n  && b\n\nFROM b:2\nENV A=1 B=x=y\nENV C=\n",
    );
    expect(none).toEqual([]);
    expect(one).toEqual({
      from: "a:1",
      name: "one",
      instructions: [{ name: "RUN", value: "a && b" }],
    });
    expect(two?.name).toBeNull();
    expect(environmentOf(two as Stage)).toEqual({ A: "1", B: "x=y", C: "" });
    expect(lastValue(one, "USER")).toBeNull();
  });

  test("refuses a file without a stage, and a shell form where words are asked for", () => {
    expect(() => readDockerfile("# nothing\n")).toThrow("begins with FROM");
    for (const value of ["picloud serve", null, '{"a":1}']) {
      expect(() => execWords(value)).toThrow("not an exec form");
    }
  });
});
