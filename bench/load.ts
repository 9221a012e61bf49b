/**
 * A load generator in a process of its own: keep-alive HTTP/1.1 over raw sockets, so that it costs
 * the shared cores as little as possible. Closed loop (each connection sends its next request when
 * the last was answered) or, with `rate`, open loop: requests are due at fixed times and latency
 * counts from when a request was due, so that a stall is not hidden (coordinated omission).
 *
 * `bun bench/load.ts '<LoadOptions as JSON>'` prints one LoadResult as JSON.
 */
import type { Socket } from "bun";

export interface LoadOptions {
  /** 127.0.0.1:port */
  port: number;
  connections: number;
  seconds: number;
  /** Requests a second over all connections; absent: as fast as they are answered. */
  rate?: number;
  requests: LoadRequest[];
}

export interface LoadRequest {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

export interface LoadResult {
  requests: number;
  /** Answers that were not 2xx, and connections lost. */
  errors: number;
  /** Count of answers by status code. */
  statuses: Record<string, number>;
  rps: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
  max: number;
}

const samplesMax = 4_000_000;

interface Connection {
  socket: Socket<Connection> | null;
  pending: Uint8Array | null;
  dueAt: number;
  busy: boolean;
}

/** Runs the load in this process. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const frames = options.requests.map((request) => encodeRequest(request));
  const samples = new Float32Array(samplesMax);
  const statuses: Record<string, number> = {};
  let done = 0;
  let errors = 0;
  let next = 0;
  let stopped = false;

  const send = (connection: Connection, dueAt: number): void => {
    connection.busy = true;
    connection.dueAt = dueAt;
    const frame = frames[next++ % frames.length] as Uint8Array;
    const written = connection.socket?.write(frame) ?? 0;
    connection.pending = written < frame.length ? frame.subarray(written) : null;
  };
  const queue: number[] = [];
  const answered = (connection: Connection, status: number): void => {
    const now = performance.now();
    if (done < samplesMax) samples[done] = now - connection.dueAt;
    done += 1;
    statuses[status] = (statuses[status] ?? 0) + 1;
    if (status < 200 || status > 299) errors += 1;
    connection.busy = false;
    if (stopped) return;
    if (options.rate === undefined) send(connection, now);
    else {
      const due = queue.shift();
      if (due !== undefined) send(connection, due);
    }
  };

  const connections = await Promise.all(
    Array.from({ length: options.connections }, () =>
      open(options.port, answered, () => {
        if (!stopped) errors += 1;
      }),
    ),
  );
  const startedAt = performance.now();
  if (options.rate === undefined)
    for (const connection of connections) send(connection, performance.now());
  else await pace(options.rate, options.seconds, connections, queue, send);
  const left = options.seconds * 1000 - (performance.now() - startedAt);
  if (left > 0) await Bun.sleep(left);
  stopped = true;
  const elapsed = (performance.now() - startedAt) / 1000;
  const counted = done;
  for (const connection of connections) connection.socket?.end();
  const sorted = samples.subarray(0, Math.min(counted, samplesMax)).sort();
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return {
    requests: counted,
    errors,
    statuses,
    rps: counted / elapsed,
    p50: at(0.5),
    p99: at(0.99),
    max: at(1),
  };
}

/** Sends requests when they are due; one that finds every connection busy waits in `queue`. */
async function pace(
  rate: number,
  seconds: number,
  connections: Connection[],
  queue: number[],
  send: (connection: Connection, dueAt: number) => void,
): Promise<void> {
  const startedAt = performance.now();
  const total = Math.floor(rate * seconds);
  let sent = 0;
  while (sent < total) {
    const now = performance.now();
    while (sent < total && startedAt + (sent * 1000) / rate <= now) {
      const dueAt = startedAt + (sent * 1000) / rate;
      const free = connections.find((connection) => !connection.busy);
      if (free === undefined) queue.push(dueAt);
      else send(free, dueAt);
      sent += 1;
    }
    const wait = startedAt + (sent * 1000) / rate - performance.now();
    if (wait > 0) await Bun.sleep(wait);
  }
}

function open(
  port: number,
  answered: (connection: Connection, status: number) => void,
  lost: () => void,
): Promise<Connection> {
  const connection: Connection = { socket: null, pending: null, dueAt: 0, busy: false };
  let buffered = "";
  return Bun.connect<Connection>({
    hostname: "127.0.0.1",
    port,
    socket: {
      data: (_socket, chunk) => {
        buffered = buffered === "" ? chunk.toString("latin1") : buffered + chunk.toString("latin1");
        for (;;) {
          const head = buffered.indexOf("\r\n\r\n");
          if (head < 0) return;
          const end = head + 4 + contentLength(buffered.slice(0, head));
          if (buffered.length < end) return;
          const status = Number(buffered.slice(9, 12));
          buffered = buffered.slice(end);
          answered(connection, status);
        }
      },
      drain: (socket) => {
        if (connection.pending === null) return;
        const written = socket.write(connection.pending);
        connection.pending =
          written < connection.pending.length ? connection.pending.subarray(written) : null;
      },
      close: lost,
      error: lost,
    },
  }).then((socket) => {
    connection.socket = socket;
    return connection;
  });
}

function contentLength(head: string): number {
  const match = /\r\ncontent-length: *(\d+)/i.exec(head);
  if (match !== null) return Number(match[1]);
  if (/\r\ntransfer-encoding:/i.test(head))
    throw new Error("The load generator reads no chunked answers");
  return 0;
}

function encodeRequest(request: LoadRequest): Uint8Array {
  const body = Buffer.from(request.body ?? "");
  const headers = { host: "localhost", ...request.headers };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  if (body.length > 0) lines.push(`content-length: ${body.length}\r\n`);
  return Buffer.concat([
    Buffer.from(`${request.method} ${request.path} HTTP/1.1\r\n${lines.join("")}\r\n`),
    body,
  ]);
}

/** Runs the load in a process of its own. */
export async function spawnLoad(options: LoadOptions): Promise<LoadResult> {
  const child = Bun.spawn([process.execPath, import.meta.path, JSON.stringify(options)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("The load generator failed");
  return JSON.parse(text) as LoadResult;
}

if (import.meta.main) {
  const result = await runLoad(JSON.parse(process.argv[2] as string) as LoadOptions);
  console.log(JSON.stringify(result));
  process.exit(0);
}
