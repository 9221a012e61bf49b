/** What is printed: the three formats, colours, and text that would do something to a terminal. */
import { describe, expect, test } from "bun:test";
import { type Column, type Format, Output } from "../../src/cli/output.ts";
import { printable, printableLines, safeJson, tsvField } from "../../src/cli/printable.ts";
import { cellColumnsMax } from "../../src/domain/limits.ts";

interface Row {
  name: string;
  count: number;
  is_on: boolean;
  note: string | null;
}

const rows: Row[] = [
  { name: "one", count: 1, is_on: true, note: null },
  { name: "日本", count: 20, is_on: false, note: "wide" },
];
const columns: Column<Row>[] = [
  { title: "NAME", value: ({ name }) => name },
  { title: "COUNT", value: ({ count }) => count, align: "right" },
  { title: "IS ON", value: ({ is_on }) => is_on },
  { title: "NOTE", value: ({ note }) => note },
];

interface Setting {
  isTerminal?: boolean;
  env?: Record<string, string>;
  format?: Format | null;
  colours?: boolean;
}

function printed(print: (output: Output) => void, setting: Setting = {}) {
  const { isTerminal = false, env = {}, format = null, colours = true } = setting;
  const written = { out: "", err: "" };
  const sink = (name: "out" | "err") => ({
    isTTY: isTerminal,
    write: (text: string) => {
      written[name] += text;
    },
  });
  print(new Output({ stdout: sink("out"), stderr: sink("err"), env, format, colours }));
  return written;
}

describe("a list", () => {
  test("is a table on a terminal, its columns as wide as their text", () => {
    const { out } = printed((o) => o.list(rows, columns), { isTerminal: true, colours: false });
    expect(out).toBe(
      ["NAME  COUNT  IS ON  NOTE", "one       1  yes    -", "日本     20  no     wide", ""].join(
        "\n",
      ),
    );
  });

  test("is tsv without a header in a pipe, and empty where there is nothing", () => {
    const { out } = printed((o) => o.list(rows, columns));
    expect(out).toBe("one\t1\ttrue\t\n日本\t20\tfalse\twide\n");
  });

  test("is what the server answered in json, wherever it goes", () => {
    for (const isTerminal of [true, false]) {
      const { out } = printed((o) => o.list(rows, columns), { format: "json", isTerminal });
      expect(JSON.parse(out)).toEqual(rows);
    }
  });

  test("of nothing is [] in json, nothing in tsv, and a remark beside the table", () => {
    expect(printed((o) => o.list([], columns), { format: "json" }).out).toBe("[]\n");
    expect(printed((o) => o.list([], columns), { format: "tsv" })).toEqual({ out: "", err: "" });
    expect(printed((o) => o.list([], columns), { format: "table" })).toEqual({
      out: "",
      err: "(none)\n",
    });
  });

  test("has cells of bounded width in a table, and whole ones elsewhere", () => {
    const long: Row = { ...(rows[0] as Row), name: "😀".repeat(cellColumnsMax) };
    const table = printed((o) => o.list([long], columns), { format: "table" }).out;
    expect(table).toContain("…");
    expect(table).not.toContain("\ufffd\ufffd");
    expect(Math.max(...table.split("\n").map((line) => Bun.stringWidth(line)))).toBeLessThan(
      cellColumnsMax + 40,
    );
    expect(printed((o) => o.list([long], columns), { format: "tsv" }).out).toContain(long.name);
  });
});

test("one thing has its fields on lines of their own", () => {
  const [row] = rows as [Row];
  const table = "name   one\ncount  1\nis on  yes\nnote   -\n";
  expect(printed((o) => o.one(row, columns), { format: "table" }).out).toBe(table);
  const tsv = "name\tone\ncount\t1\nis_on\ttrue\nnote\t\n";
  expect(printed((o) => o.one(row, columns)).out).toBe(tsv);
  expect(JSON.parse(printed((o) => o.one(row, columns), { format: "json" }).out)).toEqual(row);
});

test("rows that come one by one are JSON Lines, tsv, or cells without a header", () => {
  const print = (o: Output) => {
    for (const row of rows) o.row(row, columns);
  };
  const lines = printed(print, { format: "json" }).out.trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual(rows);
  expect(printed(print).out.split("\n")).toHaveLength(3);
  expect(printed(print, { format: "table" }).out).toBe("one  1  yes  -\n日本  20  no  wide\n");
});

describe("colours", () => {
  const print = (o: Output) => {
    o.list(rows, columns);
    o.warn("careful");
    o.fail(["it failed"]);
  };
  const esc = "\u001b";

  test("are on a terminal, and only there", () => {
    const { out, err } = printed(print, { isTerminal: true });
    expect([out.includes(esc), err.includes(esc)]).toEqual([true, true]);
    const piped = printed(print, { format: "table" });
    expect(piped.out + piped.err).not.toContain(esc);
  });

  test("are off with NO_COLOR, TERM=dumb and --no-color; an empty NO_COLOR counts as absent", () => {
    for (const setting of [
      { env: { NO_COLOR: "1" } },
      { env: { TERM: "dumb" } },
      { colours: false },
    ]) {
      const { out, err } = printed(print, { isTerminal: true, ...setting });
      expect(out + err).not.toContain(esc);
    }
    expect(printed(print, { isTerminal: true, env: { NO_COLOR: "" } }).out).toContain(esc);
  });
});

describe("text that would do something to a terminal", () => {
  const hostile: [what: string, text: string, shown: string][] = [
    ["a colour", "a\u001b[31mb\u001b[0m", "ab"],
    ["a clear screen", "a\u001b[2J\u001b[Hb", "ab"],
    ["a window title", "a\u001b]0;you are root\u0007b", "ab"],
    ["a title that ends otherwise", "a\u001b]0;x\u001b\\b", "ab"],
    ["a title without an end", "a\u001b]0;x", "a0;x"],
    ["a link", "\u001b]8;;http://evil\u0007click\u001b]8;;\u0007", "click"],
    ["a device control string", "a\u001bP1$r\u001b\\b", "ab"],
    ["C1 forms of them", "a\u009b31mb\u009d0;x\u009cc", "abc"],
    ["a character set", "a\u001b(0b", "ab"],
    ["a lone escape", "a\u001b", "a"],
    ["a line of its own", "a\nrm -rf\r\nb\u2028c\u0085d", "a rm -rf b c d"],
    ["a tab", "a\tb", "a b"],
    ["backspaces", "good\b\b\b\bevil", "goodevil"],
    ["NUL and DEL", "a\u0000b\u007fc", "abc"],
    ["another order of reading", "a\u202egnp.exe\u2066b\u2069", "agnp.exeb"],
    ["hidden marks", "a\u200bb\ufeffc\u00add", "abcd"],
    ["hidden letters", "a\u{e0041}\u{e007f}b", "ab"],
    ["half a pair", "a\ud800b", "a\ufffdb"],
    ["no harm", "Zürich 日本 😀 -→", "Zürich 日本 😀 -→"],
  ];
  for (const [what, text, shown] of hostile) {
    test(`${what} is not seen`, () => expect(printable(text)).toBe(shown));
  }

  test("stays whole in tsv and json, escaped", () => {
    for (const [, text] of hostile) {
      const json = safeJson({ text });
      const field = tsvField(text);
      for (const line of [json, field]) expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      expect(JSON.parse(json)).toEqual({ text });
      const back = JSON.parse(`"${field.replaceAll('"', '\\"')}"`);
      expect(back).toBe(text.toWellFormed());
    }
  });

  test("fakes no row, no column and no line in any format", () => {
    const row: Row = { name: "a\nb\tc", count: 1, is_on: true, note: "\u001b[8mhidden" };
    for (const format of ["table", "tsv"] as const) {
      const { out } = printed((o) => o.list([row], columns), { format });
      expect(out.trimEnd().split("\n")).toHaveLength(format === "table" ? 2 : 1);
      expect(out).not.toContain("\u001b");
      if (format === "tsv") expect(out.split("\t")).toHaveLength(4);
    }
    expect(printed((o) => o.warn("a\nb")).err).toBe("warning: a b\n");
    expect(printed((o) => o.note("a\u001b[2Jb")).err).toBe("ab\n");
  });

  test("text as it is goes whole into a pipe, and without its escapes to a terminal", () => {
    const text = "line\u001b[2J\n\tindented\n";
    expect(printed((o) => o.text(text)).out).toBe(text);
    expect(printed((o) => o.text(text), { isTerminal: true }).out).toBe("line\n\tindented\n");
  });

  test("a long hostile text is cleaned in time that grows with its length", () => {
    const text = "\u001b]0;".repeat(50_000) + "\u001b[".repeat(50_000) + "\u009d".repeat(50_000);
    expect(printableLines(text)).not.toContain("\u001b");
  }, 5_000);
});
