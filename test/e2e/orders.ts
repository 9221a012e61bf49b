/**
 * Orders: a workload for what kills the server. A caller places an order (a kv write), a trigger handles
 * it, later runs come from an asynchronous route, ticks from cron. What the server acknowledged is kept
 * here, outside of it; `expectSettled` asks for all of it back.
 *
 * The handler has one effect that happens exactly once (through `tx`) and one that is counted
 * at each attempt, so that duplicates are told from losses.
 */
import { expect } from "bun:test";
import { sql } from "../../src/storage/sql.ts";
import { withStorage } from "./engine.ts";
import type { TestServer } from "./server.ts";
import { deploy, until } from "./steps.ts";

/** A lease of PostgreSQL is 30 s; the rest is room for a slow machine. */
const settledMsMax = 60_000;
const manyKeysMax = 100;

const shopSource = `import { docs, kv } from "picloud";

export default async function (ctx) {
  const { kind, id } = ctx.request.params;
  if (kind === "order") await kv.collection("orders").set(id, { placed: true });
  if (kind === "note") await docs.collection("notes").insert({ id, text: "noted" });
  if (kind !== "unhandled") return id;
  const attempts = await kv.collection("attempts").getMany(ctx.request.body);
  return ctx.request.body.filter((_, index) => attempts[index] === null);
}
`;

const handlerSource = `import { kv, tx } from "picloud";

export default async function (ctx) {
  const id = ctx.event.source === "cron" ? ctx.event.cron.tick : ctx.event.key;
  const times = await tx(async (t) => {
    const effects = t.kv.collection(ctx.event.source === "cron" ? "ticks" : "effects");
    const times = ((await effects.get(id)) ?? 0) + 1;
    await effects.set(id, times);
    return times;
  });
  if (times !== 1) throw new Error("an effect happened twice");
  await kv.collection("attempts").increment(id);
}
`;

const laterSource = `import { kv, tx } from "picloud";

export default async function (ctx) {
  const { id } = ctx.request.params;
  await tx(async (t) => {
    const effects = t.kv.collection("effects");
    await effects.set(id, ((await effects.get(id)) ?? 0) + 1);
  });
  await kv.collection("attempts").increment(id);
}
`;

/** What was acknowledged, and what was only asked for. Grows over rounds. */
export class OrderBook {
  readonly acknowledged = new Set<string>();
  readonly asked = new Set<string>();
  /** Answers that may not be. */
  readonly faults: string[] = [];
  /** Status → how often something was refused with it. */
  readonly refused = new Map<number, number>();
  #number = 0;

  next(kind: string): string {
    this.#number += 1;
    const id = `${kind}-${this.#number}`;
    this.asked.add(id);
    return id;
  }
}

/** Scripts, routes and triggers. */
export async function deployShop(server: TestServer): Promise<void> {
  await deploy(server.client, { name: "shop", source: shopSource, path: "/shop/:kind/:id" });
  const handler = await server.client.scripts.create({ name: "handler", source: handlerSource });
  const later = await server.client.scripts.create({ name: "later", source: laterSource });
  await server.client.routes.create(later.id, { path: "/later/:id", dispatch_mode: "async" });
  const trigger = (kind: string, body: object): Promise<void> =>
    post(server, `/apps/default/triggers/${kind}`, { script_id: handler.id, ...body });
  await trigger("kv", { collection: "orders", operations: ["insert"] });
  await trigger("docs", { collection: "note*", operations: ["insert"] });
  await trigger("cron", { expression: "* * * * * *", timezone: "UTC", overlap: "queue" });
}

async function post(server: TestServer, path: string, body: object): Promise<void> {
  const response = await fetch(`${server.url}/api/v1/admin${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${server.token}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (response.status !== 201) throw new Error(`${path}: ${await response.text()}`);
}

export interface Orders {
  /** Resolves when so many orders were acknowledged, or when all callers have left. */
  acknowledged(count: number): Promise<void>;
  /** Resolves when every caller has left: because the server is gone, or because of `stop`. */
  readonly ended: Promise<void>;
  stop(): void;
}

/** Callers who order until the server is gone. @param borne statuses of refusals that may be */
export function startOrders(server: TestServer, book: OrderBook, borne = [503]): Orders {
  let count = 0;
  let isStopped = false;
  const waiters: { count: number; resolve: () => void }[] = [];
  const acknowledge = (id: string): void => {
    book.acknowledged.add(id);
    count += 1;
    for (const waiter of waiters) if (count >= waiter.count) waiter.resolve();
  };
  const call = async (kind: string): Promise<void> => {
    while (!isStopped) {
      const id = book.next(kind);
      const [path, status] =
        kind === "later" ? [`/later/${id}`, 202] : [`/shop/${kind}/${id}`, 200];
      try {
        const response = await fetch(server.url + path, { method: "POST" });
        const text = await response.text();
        if (response.status === status) acknowledge(id);
        else {
          book.refused.set(response.status, (book.refused.get(response.status) ?? 0) + 1);
          if (!borne.includes(response.status)) {
            book.faults.push(`${id}: ${response.status} ${text}`);
          }
        }
      } catch {
        return;
      }
    }
  };
  const kinds = ["order", "order", "order", "note", "later", "later"];
  const ended = Promise.all(kinds.map(call)).then(() => {
    for (const waiter of waiters) waiter.resolve();
  });
  return {
    ended,
    stop: () => {
      isStopped = true;
    },
    acknowledged: (wanted) =>
      new Promise((resolve) => {
        waiters.push({ count: wanted, resolve });
        if (count >= wanted) resolve();
      }),
  };
}

export interface Reconciliation {
  acknowledged: number;
  lost: string[];
  /** Effects through `tx` that did not happen exactly once. */
  repeated: string[];
  /** Attempts beyond the first, in all. */
  duplicates: number;
  ticks: number;
  dead: number;
}

/** Waits until all that was acknowledged is handled, stops the server, and compares. */
export async function reconcile(server: TestServer, book: OrderBook): Promise<Reconciliation> {
  let left = [...book.acknowledged];
  await until("every order is handled", settledMsMax, async () => {
    left = await unhandled(server, left);
    return left.length === 0 ? true : null;
  }).catch(() => {});
  let result: Reconciliation | null = null;
  expect(await server.stop()).toBe(0);
  await withStorage(server.dataDir, async (db) => {
    const values = async (collection: string): Promise<Map<string, number>> => {
      const rows = await db.scan(
        sql<{ key: string; value: string }>`select key, value from kv
          where collection = ${collection}`,
      );
      return new Map(rows.map(({ key, value }) => [key, Number(value)]));
    };
    const [effects, attempts] = [await values("effects"), await values("attempts")];
    const ticks = await values("ticks");
    const waiting = await db.scan(
      sql<{ event_id: string }>`select event_id from outbox where source <> ${"cron"}`,
    );
    expect(waiting).toEqual([]);
    const dead = await db.scan(sql`select id, error from dead_letters`);
    const times = [...effects, ...ticks];
    result = {
      acknowledged: book.acknowledged.size,
      lost: [...book.acknowledged].filter((id) => !effects.has(id) || !attempts.has(id)),
      repeated: times.filter(([, count]) => count !== 1).map(([id]) => id),
      duplicates: [...attempts.values()].reduce((sum, count) => sum + count - 1, 0),
      ticks: ticks.size,
      dead: dead.length,
    };
    expect([...effects.keys()].filter((id) => !book.asked.has(id))).toEqual([]);
  });
  if (result === null) throw new Error("the storage was not read");
  return result;
}

/** Those of them that no attempt has come to the end of. */
async function unhandled(server: TestServer, ids: string[]): Promise<string[]> {
  const left: string[] = [];
  for (let from = 0; from < ids.length; from += manyKeysMax) {
    const response = await fetch(`${server.url}/shop/unhandled/of`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(ids.slice(from, from + manyKeysMax)),
    });
    left.push(...((await response.json()) as string[]));
  }
  return left;
}
