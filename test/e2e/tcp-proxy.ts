/**
 * A TCP proxy that fails on demand: between a server and its database it is the cable, the router and
 * the restarting database in one.
 *
 * What was cut or silenced stays so: a connection of before never works again, as after a real outage,
 * where a router has forgotten it. Only new ones do, once `pass` is called.
 */
import { createServer, type Server, type Socket, connect as tcpConnect } from "node:net";

export interface TcpProxy extends AsyncDisposable {
  /** Listens on 127.0.0.1. */
  readonly port: number;
  /** When each connection came, on the monotonic clock; those that were refused are not seen. */
  readonly arrivals: readonly number[];
  /** Lets everything through that connects from now on. */
  pass(): Promise<void>;
  /** Ends every connection; new ones get through at once. */
  restart(): Promise<void>;
  /** Ends every connection and takes none: the port is closed. */
  close(): Promise<void>;
  /** As a port that is open and where nobody lives: takes connections and ends them at once. */
  reset(): Promise<void>;
  /** Everything falls silent: what is open stays open and carries nothing, so does what comes. */
  blackhole(): Promise<void>;
}

/** The most connections that came within any one second. */
export function arrivalsPerSecondMax(arrivals: readonly number[]): number {
  let most = 0;
  let first = 0;
  arrivals.forEach((at, index) => {
    while (at - (arrivals[first] ?? at) >= 1_000) first += 1;
    most = Math.max(most, index - first + 1);
  });
  return most;
}

type Mode = "pass" | "close" | "reset" | "blackhole";

/** Starts a proxy that lets everything through to `target`. */
export async function startTcpProxy(target: { host: string; port: number }): Promise<TcpProxy> {
  const proxy = new FaultyProxy(target);
  await proxy.pass();
  return proxy;
}

class FaultyProxy implements TcpProxy {
  port = 0;
  readonly arrivals: number[] = [];
  #mode: Mode = "close";
  #server: Server | null = null;
  /** Both ends of every connection. */
  readonly #sockets = new Set<Socket>();

  constructor(private readonly target: { host: string; port: number }) {}

  async pass(): Promise<void> {
    this.#mode = "pass";
    await this.#listen();
  }

  async restart(): Promise<void> {
    this.#cut();
    await this.pass();
  }

  async close(): Promise<void> {
    this.#mode = "close";
    const server = this.#server;
    this.#server = null;
    const closed = new Promise<void>((resolve) => {
      if (server === null) resolve();
      else server.close(() => resolve());
    });
    this.#cut();
    await closed;
  }

  async reset(): Promise<void> {
    this.#mode = "reset";
    this.#cut();
    await this.#listen();
  }

  async blackhole(): Promise<void> {
    this.#mode = "blackhole";
    // What an earlier outage silenced ends now, or the database would run out of connections.
    for (const socket of this.#sockets) {
      if (socket.isPaused()) socket.destroy();
      else silence(socket);
    }
    await this.#listen();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async #listen(): Promise<void> {
    if (this.#server !== null) return;
    const server = createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.port, "127.0.0.1", resolve);
    });
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    this.port = address.port;
    this.#server = server;
  }

  #accept(near: Socket): void {
    this.arrivals.push(performance.now());
    this.#keep(near);
    if (this.#mode === "blackhole") silence(near);
    else if (this.#mode === "pass") this.#forward(near);
    else near.destroy();
  }

  #forward(near: Socket): void {
    const far = tcpConnect(this.target.port, this.target.host);
    this.#keep(far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.setNoDelay(true);
      from.on("data", (bytes) => void to.write(bytes));
      from.on("close", () => void to.destroy());
    }
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }
}

/** Neither reads nor forwards any more; the other side notices nothing, not even an end. */
function silence(socket: Socket): void {
  socket.removeAllListeners("data");
  socket.pause();
}
