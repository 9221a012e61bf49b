import { expect, test } from "bun:test";
import { counted, createProgressLine, megabytes } from "../../src/cli/progress.ts";

function line(isTerminal: boolean) {
  const written: string[] = [];
  const clock = { time: 0 };
  const made = createProgressLine({
    isTerminal,
    write: (text) => void written.push(text),
    monotonic: () => clock.time,
  });
  return { ...made, written, clock };
}

test("a terminal's line is written over, not too often, and taken away at the end", () => {
  const { show, clear, written, clock } = line(true);
  show("1 row");
  clock.time = 10;
  show("2 rows");
  clock.time = 1_000;
  show("3 rows");
  clear();
  clear();
  expect(written).toEqual(["\r\x1b[K1 row", "\r\x1b[K3 rows", "\r\x1b[K"]);
});

test("nothing is written anywhere else", () => {
  const { show, clear, written } = line(false);
  show("1 row");
  clear();
  expect(written).toEqual([]);
});

test("numbers are written as people read them", () => {
  expect([counted(0, "row"), counted(1, "row"), counted(1_234_567, "row")]).toEqual([
    "0 rows",
    "1 row",
    "1,234,567 rows",
  ]);
  expect(megabytes(1_250_000)).toBe("1.3 MB");
});
