/**
 * What a command prints. Data goes to standard output, everything else to standard error.
 *
 * `table` is for people and may change. `json` and `tsv` are for programs and stable: json is what the
 * server answered; tsv has no header, its columns stay in their order and new ones come last, and a
 * field that is absent is empty. Without --output it is a table on a terminal, and tsv in a pipe.
 */
import { cellColumnsMax } from "../domain/limits.ts";
import { type Environment, mayColour, type TextSink } from "./environment.ts";
import { printable, printableLines, safeJson, tsvField } from "./printable.ts";

export const FORMATS = ["table", "json", "tsv"] as const;
export type Format = (typeof FORMATS)[number];

export interface Column<Row> {
  /** Of the table, in capitals by custom. */
  title: string;
  /** Null is "-" in a table and empty in tsv. */
  value: (row: Row) => string | number | boolean | null | undefined;
  align?: "left" | "right";
}

export interface OutputOptions {
  stdout: TextSink;
  stderr: TextSink;
  env: Environment;
  /** Null: by where standard output goes. */
  format: Format | null;
  colours: boolean;
}

const gap = "  ";

export class Output {
  readonly format: Format;
  readonly #stdout: TextSink;
  readonly #stderr: TextSink;
  readonly #outColours: boolean;
  readonly #errColours: boolean;

  constructor({ stdout, stderr, env, format, colours }: OutputOptions) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.format = format ?? (stdout.isTTY === true ? "table" : "tsv");
    this.#outColours = colours && mayColour(env, stdout);
    this.#errColours = colours && mayColour(env, stderr);
  }

  /** Rows of one kind. In json: an array of the rows as they are. */
  list<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): void {
    if (this.format === "json") this.json(rows);
    else if (this.format === "tsv") for (const row of rows) this.#line(tsvLine(row, columns));
    else if (rows.length === 0) this.note("(none)");
    else {
      const [head = "", ...lines] = tableLines(rows, columns);
      this.#line(this.#outColours ? bold(head) : head);
      for (const line of lines) this.#line(line);
    }
  }

  /** Rows that come one after another: json has one object on each line, a table no header. */
  row<Row>(row: Row, columns: readonly Column<Row>[]): void {
    if (this.format === "json") this.#line(safeJson(row));
    else if (this.format === "tsv") this.#line(tsvLine(row, columns));
    else this.#line(columns.map((column) => cell(column.value(row))).join(gap));
  }

  /** One thing with its fields, each on a line of its own: `name<tab>value` in tsv. */
  one<Row>(row: Row, columns: readonly Column<Row>[]): void {
    if (this.format === "json") this.json(row);
    else for (const line of this.#fieldLines(row, columns)) this.#line(line);
  }

  /** Any value, in whatever format was asked for. */
  json(value: unknown): void {
    this.#line(safeJson(value, 2));
  }

  /** Data as it is: a file's text, a script's source. On a terminal it is made printable. */
  text(text: string): void {
    this.#stdout.write(this.#stdout.isTTY === true ? printableLines(text) : text);
  }

  /** Changes, one on each line behind its sign. */
  signed(lines: readonly { sign: Sign; text: string }[]): void {
    for (const { sign, text } of lines) {
      this.#line(`${this.#outColours ? SIGNS[sign](sign) : sign} ${printable(text)}`);
    }
  }

  /** A remark for people. */
  note(text: string): void {
    this.#stderr.write(`${printable(text)}\n`);
  }

  warn(text: string): void {
    const word = "warning:";
    this.#stderr.write(`${this.#errColours ? yellow(word) : word} ${printable(text)}\n`);
  }

  /** A failure, line by line. @param lines printable already */
  fail([first = "", ...more]: readonly string[]): void {
    const word = "error:";
    this.#stderr.write(`${this.#errColours ? red(word) : word} ${first}\n`);
    for (const line of more) this.#stderr.write(`${line}\n`);
  }

  #fieldLines<Row>(row: Row, columns: readonly Column<Row>[]): string[] {
    const width = Math.max(0, ...columns.map(({ title }) => title.length));
    return columns.map(({ title, value }) => {
      const name = title.toLowerCase();
      const found = value(row);
      if (this.format === "tsv")
        return `${name.replaceAll(" ", "_")}\t${tsvField(String(found ?? ""))}`;
      const padding = " ".repeat(width - name.length);
      return `${this.#outColours ? bold(name) : name}${padding}${gap}${wholeCell(found)}`;
    });
  }

  #line(text: string): void {
    this.#stdout.write(`${text}\n`);
  }
}

function tableLines<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string[] {
  const cells = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map(({ value }) => cell(value(row)))),
  ];
  const widths = columns.map((_, index) =>
    Math.max(...cells.map((line) => Bun.stringWidth(line[index] as string))),
  );
  return cells.map((line) =>
    line
      .map((text, index) => {
        const padding = " ".repeat((widths[index] as number) - Bun.stringWidth(text));
        return columns[index]?.align === "right" ? padding + text : text + padding;
      })
      .join(gap)
      .trimEnd(),
  );
}

function tsvLine<Row>(row: Row, columns: readonly Column<Row>[]): string {
  return columns.map(({ value }) => tsvField(String(value(row) ?? ""))).join("\t");
}

/** A cell takes part of a line; who needs all of it asks for json. */
function cell(value: ReturnType<Column<unknown>["value"]>): string {
  const text = wholeCell(value);
  return text.length > cellColumnsMax
    ? `${text.slice(0, cellColumnsMax - 1).toWellFormed()}…`
    : text;
}

function wholeCell(value: ReturnType<Column<unknown>["value"]>): string {
  if (value === true) return "yes";
  if (value === false) return "no";
  const text = value === null || value === undefined ? "" : printable(String(value));
  return text === "" ? "-" : text;
}

/** What is made, changed, taken away. */
const SIGNS = { "+": green, "~": yellow, "-": red };
export type Sign = keyof typeof SIGNS;

function green(text: string): string {
  return `\u001b[32m${text}\u001b[39m`;
}

function bold(text: string): string {
  return `\u001b[1m${text}\u001b[22m`;
}

function red(text: string): string {
  return `\u001b[31m${text}\u001b[39m`;
}

function yellow(text: string): string {
  return `\u001b[33m${text}\u001b[39m`;
}
