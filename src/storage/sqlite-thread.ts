/**
 * The scan thread: an entry of its own in the build. It reads what may take long and copies the
 * write-ahead log into the database (the fsyncs of a checkpoint would stall the event loop), on a
 * connection of its own.
 *
 * Rows go back as JSON text in batches: the main thread parses one batch a turn, and text crosses
 * threads as plain bytes. Statements with blobs in their rows are refused: no table has any.
 */
import { Database as Connection, type SQLQueryBindings } from "bun:sqlite";

/** What the main thread asks; one request is in flight at a time, but for `end`. */
export type ThreadRequest =
  | { kind: "open"; path: string; pragmas: string }
  | {
      kind: "scan";
      id: number;
      text: string;
      values: SQLQueryBindings[];
      batchRowsMax: number;
      batchCharsMax: number;
      rowsMax: number;
      msMax: number;
    }
  | { kind: "checkpoint"; id: number }
  | { kind: "restart_log"; id: number; stamp: number }
  | { kind: "end" };

export type ThreadReply =
  /** A JSON array of rows; more may follow. */
  | { kind: "rows"; id: number; json: string; last: boolean }
  | { kind: "checkpointed"; id: number; pages: number; left: number }
  | { kind: "done"; id: number }
  | { kind: "failed"; id: number; message: string; code: string | null };

interface Scope {
  onmessage: ((event: { data: ThreadRequest }) => void) | null;
  postMessage(reply: ThreadReply): void;
}

const scope = globalThis as unknown as Scope;
let connection: Connection | null = null;

scope.onmessage = ({ data: request }) => {
  if (request.kind === "end") {
    connection?.close();
    process.exit(0);
  }
  try {
    answer(request);
  } catch (error) {
    if (request.kind === "open") throw error;
    const { message, code } = error as { message?: unknown; code?: unknown };
    scope.postMessage({
      kind: "failed",
      id: request.id,
      message: String(message),
      code: typeof code === "string" ? code : null,
    });
  }
};

function answer(request: Exclude<ThreadRequest, { kind: "end" }>): void {
  if (request.kind === "open") {
    connection = new Connection(request.path, { create: false, readwrite: true, strict: true });
    connection.run(request.pragmas);
    return;
  }
  if (connection === null) throw new Error("the scan thread has no database");
  if (request.kind === "scan") {
    scan(connection, request);
  } else if (request.kind === "checkpoint") {
    const row = connection.prepare("pragma wal_checkpoint(passive)").get() as {
      log: number;
      checkpointed: number;
    };
    const left = row.log - row.checkpointed;
    scope.postMessage({ kind: "checkpointed", id: request.id, pages: row.log, left });
  } else {
    connection.run("pragma query_only = off");
    try {
      connection.run(`pragma user_version = ${request.stamp}`);
    } finally {
      connection.run("pragma query_only = on");
    }
    scope.postMessage({ kind: "done", id: request.id });
  }
}

function scan(db: Connection, request: Extract<ThreadRequest, { kind: "scan" }>): void {
  const { id } = request;
  const end = performance.now() + request.msMax;
  let rows: string[] = [];
  let chars = 0;
  let count = 0;
  const query = db.prepare<Record<string, unknown>, SQLQueryBindings[]>(request.text);
  try {
    for (const row of query.iterate(...request.values)) {
      count += 1;
      if (count > request.rowsMax) throw new Error("too many rows");
      if (performance.now() > end) throw new Error("the deadline passed");
      const json = JSON.stringify(row, refuseBlob);
      rows.push(json);
      chars += json.length;
      if (rows.length < request.batchRowsMax && chars < request.batchCharsMax) continue;
      scope.postMessage({ kind: "rows", id, json: `[${rows.join(",")}]`, last: false });
      rows = [];
      chars = 0;
    }
  } finally {
    query.finalize();
  }
  scope.postMessage({ kind: "rows", id, json: `[${rows.join(",")}]`, last: true });
}

function refuseBlob(_name: string, value: unknown): unknown {
  if (value instanceof Uint8Array) throw new Error("a scan cannot return a blob");
  return value;
}
