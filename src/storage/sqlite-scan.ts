/**
 * The main thread's side of the scan thread: a bounded queue, one request in flight, a deadline for
 * each. The thread is started on first need and ended after rest, because an idle Pi must not carry
 * it. A request whose deadline passes takes the thread with it, as native code inside SQLite
 * cannot be interrupted; a thread that dies fails the request in flight, and the next one starts another.
 */
import { counters } from "../base/metrics.ts";
import { PicError } from "../domain/errors.ts";
import { checkpointMsMax, scanBatchCharsMax, scanBatchRowsMax } from "../domain/limits.ts";
import type { Statement } from "./sql.ts";
import { checkValues } from "./sql-values.ts";
import { render, translate } from "./sqlite-connection.ts";
import type { ThreadReply, ThreadRequest } from "./sqlite-thread.ts";

export interface SqliteScanOptions {
  path: string;
  pragmas: string;
  queueMax: number;
  msMax: number;
  rowsMax: number;
  idleMs: number;
}

type Ask = Extract<ThreadRequest, { id: number }>;
type AskWithoutId = Ask extends infer A ? (A extends Ask ? Omit<A, "id"> : never) : never;

interface Task {
  request: Ask;
  rows: unknown[];
  resolve: (task: { rows: unknown[]; reply: ThreadReply }) => void;
  reject: (error: unknown) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class SqliteScan {
  readonly #queue: Task[] = [];
  #current: Task | null = null;
  #worker: Worker | null = null;
  #idleTimer: ReturnType<typeof setTimeout> | null = null;
  #ids = 0;
  #closed = false;
  /** Threads that were told to end and have not yet. */
  readonly #ending = new Map<Worker, PromiseWithResolvers<void>>();

  constructor(private readonly options: SqliteScanOptions) {}

  /** Rejects with PicError `unavailable`: queue full, deadline, too many rows, thread died. */
  async scan<Row>(statement: Statement<Row>): Promise<Row[]> {
    checkValues(statement.values);
    counters.sqlStatements += 1;
    const { rows } = await this.#ask({
      kind: "scan",
      text: render(statement.texts),
      values: [...statement.values],
      batchRowsMax: scanBatchRowsMax,
      batchCharsMax: scanBatchCharsMax,
      rowsMax: this.options.rowsMax,
      msMax: this.options.msMax,
    });
    return rows as Row[];
  }

  /** Copies what it can of the log into the database; how many pages are in the log, and are left. */
  async checkpoint(): Promise<{ pages: number; left: number }> {
    const { reply } = await this.#ask({ kind: "checkpoint" });
    if (reply.kind !== "checkpointed") throw new Error("the scan thread mixed its answers up");
    return { pages: reply.pages, left: reply.left };
  }

  /**
   * Writes one page, so that the log begins again from its start: SQLite syncs its new header inside that
   * commit, even with synchronous=NORMAL. No other writer may be at work.
   */
  async restartLog(stamp: number): Promise<void> {
    await this.#ask({ kind: "restart_log", stamp });
  }

  /** True while there is a thread. */
  get running(): boolean {
    return this.#worker !== null;
  }

  /** Ends the thread; requests that wait fail. May be called twice. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const task of this.#queue.splice(0)) this.#fail(task, gone());
    if (this.#current !== null) this.#fail(this.#current, gone());
    this.#current = null;
    this.#end();
    await Promise.all([...this.#ending.values()].map((ending) => ending.promise));
  }

  #ask(request: AskWithoutId): Promise<{ rows: unknown[]; reply: ThreadReply }> {
    if (this.#closed) return Promise.reject(gone());
    if (this.#queue.length >= this.options.queueMax) {
      return Promise.reject(new PicError("unavailable", "Too many scans are waiting."));
    }
    return new Promise((resolve, reject) => {
      this.#ids += 1;
      const task: Task = {
        request: { ...request, id: this.#ids } as Ask,
        rows: [],
        resolve,
        reject,
        timer: setTimeout(
          () => this.#expire(task),
          request.kind === "scan" ? this.options.msMax : checkpointMsMax,
        ),
      };
      this.#queue.push(task);
      this.#next();
    });
  }

  #next(): void {
    // A thread that was killed inside native code lives until that returns: never more than one.
    if (this.#current !== null || this.#closed || this.#ending.size > 0) return;
    const task = this.#queue.shift();
    if (task === undefined) {
      this.#rest();
      return;
    }
    this.#current = task;
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = null;
    this.#worker ??= this.#start();
    this.#worker.ref();
    this.#worker.postMessage(task.request);
  }

  #rest(): void {
    if (this.#worker === null) return;
    this.#worker.unref();
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => this.#end(), this.options.idleMs);
    this.#idleTimer.unref();
  }

  #start(): Worker {
    const worker = new Worker(threadEntry(), { smol: true, name: "picloud-scan" });
    const died = (reason: string): void => {
      this.#ending.get(worker)?.resolve();
      this.#ending.delete(worker);
      if (this.#worker === worker) {
        this.#worker = null;
        const task = this.#current;
        this.#current = null;
        if (task !== null) this.#fail(task, lost(reason));
      }
      this.#next();
    };
    worker.addEventListener("message", (event: MessageEvent<ThreadReply>) => {
      if (this.#worker === worker) this.#receive(event.data);
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      worker.terminate();
      died(event.message);
    });
    worker.addEventListener("close", () => died("the thread ended"));
    const open: ThreadRequest = {
      kind: "open",
      path: this.options.path,
      pragmas: this.options.pragmas,
    };
    worker.postMessage(open);
    return worker;
  }

  #receive(reply: ThreadReply): void {
    const task = this.#current;
    if (task === null || task.request.id !== reply.id) return;
    if (reply.kind === "rows") {
      for (const row of JSON.parse(reply.json) as unknown[]) task.rows.push(row);
      if (!reply.last) return;
    }
    this.#current = null;
    if (reply.kind === "failed") this.#fail(task, failure(reply));
    else {
      clearTimeout(task.timer);
      task.resolve({ rows: task.rows, reply });
    }
    this.#next();
  }

  #expire(task: Task): void {
    if (this.#current === task) {
      this.#current = null;
      this.#kill();
    } else {
      this.#queue.splice(this.#queue.indexOf(task), 1);
    }
    this.#fail(task, new PicError("unavailable", "The scan took too long."));
    this.#next();
  }

  #fail(task: Task, error: unknown): void {
    clearTimeout(task.timer);
    task.reject(error);
  }

  #kill(): void {
    const worker = this.#worker;
    if (worker === null) return;
    this.#worker = null;
    this.#ending.set(worker, Promise.withResolvers());
    worker.terminate();
  }

  /** Lets the thread close its connection; it exits by itself. */
  #end(): void {
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = null;
    const worker = this.#worker;
    if (worker === null) return;
    this.#worker = null;
    this.#ending.set(worker, Promise.withResolvers());
    const end: ThreadRequest = { kind: "end" };
    worker.postMessage(end);
  }
}

/**
 * In a compiled executable the thread is an entry of its own, found by its path below the common
 * folder of all entries (src/); otherwise it is the file beside this one.
 */
function threadEntry(): string {
  return import.meta.url.includes("/$bunfs/")
    ? "./storage/sqlite-thread.ts"
    : new URL("./sqlite-thread.ts", import.meta.url).href;
}

function failure(reply: { message: string; code: string | null }): unknown {
  if (reply.code === null) return lost(reply.message);
  return translate(Object.assign(new Error(reply.message), { code: reply.code }));
}

function lost(reason: string): PicError {
  return new PicError("unavailable", "The database could not be scanned.", { cause: reason });
}

function gone(): PicError {
  return new PicError("unavailable", "The database is closed.");
}
