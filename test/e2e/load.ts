/**
 * Clients that write and keep account of what the server acknowledged, so that a test can demand it
 * back after whatever was done to the server meanwhile.
 */
import { expect } from "bun:test";
import { PicClient, PicClientError } from "../../src/client.ts";
import type { TestServer } from "./server.ts";
import { deploy } from "./steps.ts";

/** What the server said was done. Grows over rounds. */
export class Ledger {
  /** Counter → the highest value answered. */
  readonly counters = new Map<string, number>();
  /** Counter → how often an increment was asked for. */
  readonly asked = new Map<string, number>();
  /** Script → the highest version answered. */
  readonly versions = new Map<string, number>();

  /** Every acknowledged write is there, and nothing that nobody asked for. */
  async expectKept(server: TestServer, client = server.client): Promise<void> {
    const stored = await Promise.all(
      [...this.asked.keys()].map(async (name) => {
        const response = await fetch(`${server.url}/read/${name}`);
        return [name, (await response.json()) as number] as const;
      }),
    );
    const lost = stored.filter(([name, value]) => value < (this.counters.get(name) ?? 0));
    const invented = stored.filter(([name, value]) => value > (this.asked.get(name) ?? 0));
    expect({ lost, invented }).toEqual({ lost: [], invented: [] });
    const scripts = await Promise.all(
      [...this.versions].map(async ([id, version]) => {
        const found = await client.scripts.get(id).catch(() => null);
        return { id, version, found: found?.active_version.number ?? 0 };
      }),
    );
    expect(scripts.filter(({ version, found }) => found < version)).toEqual([]);
  }
}

export interface Load {
  /** Resolves when the clients have done at least so many acknowledged writes, or have all left. */
  acknowledged(writes: number): Promise<void>;
  /** Resolves when every client has left: because the server is gone, or because of `stop`. */
  ended: Promise<void>;
  stop(): void;
  /** Statuses other than those of success, with how often they came. */
  readonly refused: Map<number, number>;
}

const counterScript = `import { kv } from "picloud";
const counts = kv.collection("counts");

export default async function (ctx) {
  const { name } = ctx.request.params;
  return ctx.request.method === "POST" ? counts.increment(name) : ((await counts.get(name)) ?? 0);
}
`;

/** What the clients call. */
export async function deployCounter(server: TestServer): Promise<void> {
  const { script } = await deploy(server.client, {
    name: "counter",
    source: counterScript,
    path: "/count/:name",
  });
  await server.client.routes.create(script.id, { path: "/read/:name", method: "GET" });
}

/** Starts clients that increment counters, and others that make and edit scripts. */
export function startLoad(
  server: TestServer,
  ledger: Ledger,
  { clients = 8, authors = 2, label = "" } = {},
): Load {
  const stopped = new AbortController();
  const refused = new Map<number, number>();
  const waiters: { writes: number; resolve: () => void }[] = [];
  let writes = 0;
  const wrote = (): void => {
    writes += 1;
    for (const waiter of waiters) if (writes >= waiter.writes) waiter.resolve();
  };
  const refuse = (status: number): void => void refused.set(status, (refused.get(status) ?? 0) + 1);
  const work = { server, ledger, signal: stopped.signal, wrote, refuse };
  const ended = Promise.all([
    ...Array.from({ length: clients }, (_, index) => count(work, `c${index}`)),
    ...Array.from({ length: authors }, (_, index) => write(work, `${label}-${index}`)),
  ]).then(() => {
    for (const waiter of waiters) waiter.resolve();
  });
  return {
    ended,
    refused,
    stop: () => stopped.abort(),
    acknowledged: (wanted) =>
      new Promise((resolve) => {
        waiters.push({ writes: wanted, resolve });
        if (writes >= wanted) resolve();
        void ended.then(resolve);
      }),
  };
}

interface Work {
  server: TestServer;
  ledger: Ledger;
  signal: AbortSignal;
  wrote: () => void;
  refuse: (status: number) => void;
}

async function count({ server, ledger, signal, wrote, refuse }: Work, name: string): Promise<void> {
  while (!signal.aborted) {
    ledger.asked.set(name, (ledger.asked.get(name) ?? 0) + 1);
    try {
      const response = await fetch(`${server.url}/count/${name}`, { method: "POST" });
      const text = await response.text();
      if (response.status !== 200) {
        refuse(response.status);
        continue;
      }
      const before = ledger.counters.get(name) ?? 0;
      if (Number(text) <= before) throw new Repeated(`${name}: ${text} after ${before}`);
      ledger.counters.set(name, Number(text));
      wrote();
    } catch (error) {
      if (error instanceof Repeated) throw error;
      return; // the server is gone
    }
  }
}

/** A counter went backwards: two clients were told the same. */
class Repeated extends Error {}

async function write(
  { server, ledger, signal, wrote, refuse }: Work,
  label: string,
): Promise<void> {
  const client = new PicClient({ base_url: server.url, token: server.token });
  for (let number = 0; !signal.aborted; number += 1) {
    try {
      const source = `export default () => ${number};`;
      const made = await client.scripts.create({ name: `made${label}-${number}`, source });
      ledger.versions.set(made.id, 1);
      wrote();
      await client.scripts.update(made.id, { source: `${source}\n`, if_version: 1 });
      ledger.versions.set(made.id, 2);
      wrote();
    } catch (error) {
      if (!(error instanceof PicClientError)) return; // the server is gone
      refuse(error.status);
    }
  }
}
