import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createBackupFile, readBackupFile } from "../../src/services/backup-file.ts";
import { codeOf, messageOf } from "../storage/conformance/engine.ts";

const bytes = Buffer.from("the bytes of a backup");

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "picloud-backup-file-"));
  path = join(dir, "picloud.backup");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const creating = async (force = false) => createBackupFile(path, { force });

describe("a backup's file", () => {
  test("takes its name when it is whole, and is its owner's alone", async () => {
    const before = process.umask(0);
    try {
      const sink = await creating();
      await sink.write(bytes);
      await sink.write(bytes);
      expect(readdirSync(dir)).toEqual(["picloud.backup.partial"]);
      expect(statSync(`${path}.partial`).mode & 0o777).toBe(0o600);
      await sink.commit();
      sink.discard();
    } finally {
      process.umask(before);
    }
    expect(readdirSync(dir)).toEqual(["picloud.backup"]);
    expect(readFileSync(path).equals(Buffer.concat([bytes, bytes]))).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("holds all that was written, however much", async () => {
    const sink = await creating();
    const block = Buffer.alloc(1024 * 1024, "0123456789abcdef");
    for (let count = 0; count < 9; count += 1) await sink.write(block);
    await sink.commit();
    expect(readFileSync(path).equals(Buffer.concat(Array(9).fill(block)))).toBe(true);
  });

  test("is gone when the backup is given up", async () => {
    const sink = await creating();
    await sink.write(bytes);
    sink.discard();
    sink.discard();
    expect(readdirSync(dir)).toEqual([]);
  });

  test("replaces nothing, at its beginning and at its end, unless it is told to", async () => {
    writeFileSync(path, "yesterday's");
    expect(await messageOf(creating())).toContain("exists already; --force replaces it");
    const forced = await creating(true);
    await forced.write(bytes);
    expect(readFileSync(path, "utf8")).toBe("yesterday's");
    await forced.commit();
    expect(readFileSync(path).equals(bytes)).toBe(true);

    rmSync(path);
    const sink = await creating();
    writeFileSync(path, "somebody else's");
    expect(await codeOf(sink.commit())).toBe("conflict");
    sink.discard();
    expect(readFileSync(path, "utf8")).toBe("somebody else's");
    expect(readdirSync(dir)).toEqual(["picloud.backup"]);
  });

  test("is not the other's when two write the same", async () => {
    const first = await creating();
    const second = await creating();
    await second.write(bytes);
    expect(await messageOf(first.commit())).toContain("Another backup is writing");
    first.discard();
    await second.commit();
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  test("follows no link that lies where it is written", async () => {
    const target = join(dir, "target");
    writeFileSync(target, "precious");
    symlinkSync(target, `${path}.partial`);
    const sink = await creating();
    await sink.write(bytes);
    await sink.commit();
    expect(readFileSync(target, "utf8")).toBe("precious");
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  test("cannot be a folder, nor in a folder that is not there", async () => {
    mkdirSync(path);
    expect(await messageOf(creating())).toContain("is a folder: name a file in it");
    expect(await messageOf(creating(true))).toContain("is a folder: name a file in it");
    path = join(dir, "missing", "backup");
    expect(await messageOf(creating())).toContain("there is no such file or folder");
    expect(existsSync(join(dir, "missing"))).toBe(false);
  });
});

describe("reading", () => {
  const read = async (from: string): Promise<Buffer> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of readBackupFile(from)) chunks.push(chunk);
    return Buffer.concat(chunks);
  };

  test("gives what is in the file", async () => {
    const large = Buffer.alloc(1_000_000, "0123456789");
    writeFileSync(path, large);
    expect((await read(path)).equals(large)).toBe(true);
  });

  test("says what is wrong with the path", async () => {
    expect(await messageOf(read(path))).toContain("there is no such file or folder");
    expect(await messageOf(read(dir))).toContain("it is a folder");
  });
});
