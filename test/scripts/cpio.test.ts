/** The first root of an emulated board is an archive that Linux can read. */
import { expect, test } from "bun:test";
import { cpioArchive } from "../../scripts/cpio.ts";

/** Reads the format by its own words: 110 characters of head, the rest filled up to four bytes. */
function members(archive: Uint8Array) {
  const text = (from: number, to: number): string =>
    Buffer.from(archive.subarray(from, to)).toString();
  const up = (length: number): number => Math.ceil(length / 4) * 4;
  const found: { name: string; mode: string; content: string }[] = [];
  for (let at = 0; at < archive.length; ) {
    expect(text(at, at + 6)).toBe("070701");
    const field = (index: number): number =>
      Number.parseInt(text(at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [mode, size, nameLength] = [field(1), field(6), field(11)];
    const content = up(at + 110 + nameLength);
    const name = text(at + 110, at + 110 + nameLength - 1);
    expect(archive[at + 110 + nameLength - 1]).toBe(0);
    found.push({ name, mode: mode.toString(8), content: text(content, content + size) });
    at = up(content + size);
  }
  return found;
}

test("folders, files and links follow each other, filled up to four bytes, with a trailer", () => {
  const archive = cpioArchive([
    { path: "bin", kind: "folder" },
    { path: "bin/a", kind: "file", content: new Uint8Array([120, 121, 122]), mode: 0o755 },
    { path: "empty", kind: "file" },
    { path: "bin/sh", kind: "link", content: "a" },
    { path: "é", kind: "file", content: "ü" },
  ]);
  expect(archive.length % 4).toBe(0);
  expect(members(archive)).toEqual([
    { name: "bin", mode: "40755", content: "" },
    { name: "bin/a", mode: "100755", content: "xyz" },
    { name: "empty", mode: "100644", content: "" },
    { name: "bin/sh", mode: "120777", content: "a" },
    { name: "é", mode: "100644", content: "ü" },
    { name: "TRAILER!!!", mode: "0", content: "" },
  ]);
});

test("the same files give the same bytes", () => {
  const entries = [{ path: "a", kind: "file", content: "b" } as const];
  expect(cpioArchive(entries)).toEqual(cpioArchive(entries));
});
