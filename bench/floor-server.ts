/**
 * The floors: the least that any server on this runtime does for the same work. Started as
 * `bun bench/floor-server.ts <hello|echo|kv> [folder]`; prints its port.
 */
import { Database } from "bun:sqlite";
import { fdatasync, openSync } from "node:fs";
import { join } from "node:path";

const [kind, folder] = process.argv.slice(2);

const floors: Record<string, () => (request: Request) => Response | Promise<Response>> = {
  hello: () => () => Response.json({ hello: "world" }),
  echo: () => async (request) => {
    const body = (await request.json()) as { items: { price: number; count: number }[] };
    let total = 0;
    for (const item of body.items) total += item.price * item.count;
    return Response.json({ total, items: body.items });
  },
  kv: () => kvFloor(folder as string),
};

/** One row read and written, answered after an fdatasync of the log that began after its commit. */
function kvFloor(dir: string): (request: Request) => Promise<Response> {
  const path = join(dir, "floor.db");
  const db = new Database(path, { create: true, strict: true });
  db.run("pragma journal_mode = wal");
  db.run("pragma synchronous = normal");
  db.run(
    "create table if not exists kv (app text, collection text, key text, value text, version integer, primary key (app, collection, key)) strict, without rowid",
  );
  const read = db.query<{ value: string }, [string, string, string]>(
    "select value from kv where app = ? and collection = ? and key = ?",
  );
  const write = db.query(
    "insert into kv values (?, ?, ?, ?, 1) on conflict do update set value = excluded.value, version = version + 1",
  );
  const sync = createGroupSync(openSync(`${path}-wal`, "r+"));
  return async (request) => {
    const key = new URL(request.url).pathname;
    const row = read.get("app", "hits", key);
    const n = (row === null ? 0 : Number(row.value)) + 1;
    write.run("app", "hits", key, String(n));
    await sync();
    return Response.json({ n });
  };
}

/** One sync in flight at a time; all that committed meanwhile share the next. */
function createGroupSync(fd: number): () => Promise<void> {
  let waiting: (() => void)[] = [];
  let running = false;
  const start = (): void => {
    const served = waiting;
    waiting = [];
    running = true;
    fdatasync(fd, (error) => {
      if (error !== null) throw error;
      running = false;
      for (const resolve of served) resolve();
      if (waiting.length > 0) start();
    });
  };
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      if (!running) start();
    });
}

const create = floors[kind ?? ""];
if (create === undefined) throw new Error(`No floor "${kind}"`);
const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: create() });
console.log(server.port);
