/**
 * One connection of bun:sqlite: prepared statements, the check of what is bound, errors in the
 * port's words. Every call is synchronous; who may call when is decided by the writer and the reader.
 */
import {
  Database as Connection,
  type Statement as Prepared,
  type SQLQueryBindings,
} from "bun:sqlite";
import { counters } from "../base/metrics.ts";
import { PicError } from "../domain/errors.ts";
import { statementCacheMax } from "../domain/limits.ts";
import type { SqlValue, Statement } from "./sql.ts";
import { checkValues } from "./sql-values.ts";

export type Query = Prepared<unknown, SQLQueryBindings[]>;

/** "read" changes nothing; "change" changes rows and says how many; nothing is known of "other". */
export type QueryKind = "read" | "change" | "other";

interface CachedQuery {
  readonly query: Query;
  readonly kind: QueryKind;
}

export class SqliteConnection {
  readonly raw: Connection;
  /** Of the last statement that ran. */
  lastKind: QueryKind = "other";
  /** A template literal is one object for ever: found without making its text. Bounded by our code. */
  readonly #byTemplate = new Map<readonly string[], CachedQuery>();
  /** Composed statements, the oldest dropped first. */
  readonly #byText = new Map<string, CachedQuery>();

  constructor(path: string) {
    this.raw = new Connection(path, { create: true, readwrite: true, strict: true });
  }

  get<Row>(statement: Statement<Row>): Row | null {
    return this.#execute(statement, (query, values) => query.get(...values)) as Row | null;
  }

  /** True for what cannot change anything, whatever it is given. */
  reads(statement: Statement<unknown>): boolean {
    try {
      return this.#prepare(statement.texts).kind === "read";
    } catch (error) {
      throw translate(error);
    }
  }

  all<Row>(statement: Statement<Row>): Row[] {
    return this.#execute(statement, (query, values) => query.all(...values)) as Row[];
  }

  run(statement: Statement<unknown>): { changes: number } {
    const { changes } = this.#execute(statement, (query, values) => query.run(...values));
    return { changes };
  }

  /** One text of several statements, for migrations and pragmas. */
  exec(text: string): void {
    counters.sqlStatements += 1;
    try {
      this.raw.run(text);
    } catch (error) {
      throw translate(error);
    }
  }

  close(): void {
    // A statement that is left keeps the file, and with it the log, open.
    for (const cache of [this.#byTemplate, this.#byText]) {
      for (const cached of cache.values()) cached.query.finalize();
      cache.clear();
    }
    this.raw.close();
  }

  #execute<T>(
    statement: Statement<unknown>,
    step: (query: Query, values: SQLQueryBindings[]) => T,
  ): T {
    const { values } = statement;
    checkValues(values);
    counters.sqlStatements += 1;
    try {
      const { query, kind } = this.#prepare(statement.texts);
      this.lastKind = kind;
      return step(query, values as SqlValue[]);
    } catch (error) {
      throw translate(error);
    }
  }

  #prepare(texts: readonly string[]): CachedQuery {
    const known = this.#byTemplate.get(texts);
    if (known !== undefined) return known;
    const text = render(texts);
    if ("raw" in texts) {
      const cached = this.#compile(text);
      this.#byTemplate.set(texts, cached);
      return cached;
    }
    const cached = this.#byText.get(text) ?? this.#compile(text);
    if (!this.#byText.has(text)) this.#keep(text, cached);
    return cached;
  }

  #compile(text: string): CachedQuery {
    const query = this.raw.prepare(text) as Query;
    if (/^\s*select\b/i.test(text)) return { query, kind: "read" };
    return { query, kind: /^\s*(insert|update|delete)\b/i.test(text) ? "change" : "other" };
  }

  #keep(text: string, cached: CachedQuery): void {
    const oldest = this.#byText.entries().next().value;
    if (this.#byText.size >= statementCacheMax && oldest !== undefined) {
      this.#byText.delete(oldest[0]);
      oldest[1].query.finalize();
    }
    this.#byText.set(text, cached);
  }
}

/** The text as SQLite wants it. */
export function render(texts: readonly string[]): string {
  return texts.join("?");
}

const unavailable: Readonly<Record<string, string>> = {
  SQLITE_PERM: "The database may not be opened.",
  SQLITE_BUSY: "The database is locked by another program.",
  SQLITE_LOCKED: "The database is locked.",
  SQLITE_NOMEM: "There is not enough memory for the database.",
  SQLITE_READONLY: "The database is not writable.",
  SQLITE_IOERR: "The database cannot be read or written.",
  SQLITE_CORRUPT: "The database is damaged.",
  SQLITE_FULL: "The disk is full.",
  SQLITE_CANTOPEN: "The database cannot be opened.",
  SQLITE_PROTOCOL: "The database is locked by another program.",
  SQLITE_NOTADB: "The file is not a database.",
};

/** An error of the engine in the port's words. */
export function translate(error: unknown): unknown {
  const code = (error as { code?: unknown } | null)?.code;
  if (error instanceof PicError || typeof code !== "string") return error;
  if (code === "SQLITE_CONSTRAINT_UNIQUE" || code === "SQLITE_CONSTRAINT_PRIMARYKEY") {
    return new PicError("conflict", "It exists already.", { cause: error });
  }
  if (code === "SQLITE_CONSTRAINT_FOREIGNKEY") {
    return new PicError("conflict", "It refers to something that does not exist.", {
      cause: error,
    });
  }
  const primary = code.split("_").slice(0, 2).join("_");
  const message = unavailable[primary];
  return message === undefined ? error : new PicError("unavailable", message, { cause: error });
}
