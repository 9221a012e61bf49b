/** Runs scripts/start for a test, on a port and a data folder of its own. */
import { resolve } from "node:path";

export interface RunningStart extends AsyncDisposable {
  /** Standard output so far. */
  out(): string;
  err(): string;
  /** Resolves when it has printed READY; throws when it ends before. */
  ready(): Promise<void>;
  /** As Ctrl-C does. Resolves with the exit code. */
  interrupt(): Promise<number>;
  /** Resolves with the exit code when it ends by itself. */
  readonly exited: Promise<number>;
  readonly pid: number;
}

const script = resolve(import.meta.dir, "../../scripts/start");
const readyMsMax = 60_000;
const pollMs = 20;

export function runStart(port: number, dataDir: string): RunningStart {
  const child = Bun.spawn([script, "--port", String(port)], {
    cwd: "/",
    env: { ...process.env, PICLOUD_DATA_DIR: dataDir, BUN_FEATURE_FLAG_NO_ORPHANS: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out = gather(child.stdout);
  const err = gather(child.stderr);
  const interrupt = async (): Promise<number> => {
    child.kill("SIGINT");
    return child.exited;
  };
  const ready = async (): Promise<void> => {
    const deadline = performance.now() + readyMsMax;
    while (!/^READY$/m.test(out()) || !out().includes("Ctrl-C")) {
      if (child.exitCode !== null) throw new Error(`scripts/start ended:\n${out()}${err()}`);
      if (performance.now() > deadline) throw new Error(`no READY:\n${out()}${err()}`);
      await Bun.sleep(pollMs);
    }
  };
  return {
    out,
    err,
    ready,
    interrupt,
    exited: child.exited,
    pid: child.pid,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null) await interrupt();
    },
  };
}

/** Two neighbouring ports that are free now. */
export function freePorts(): number {
  for (;;) {
    const first = Bun.listen({ hostname: "0.0.0.0", port: 0, socket: { data: () => {} } });
    try {
      const { port } = first;
      if (port >= 65_535) continue;
      Bun.listen({ hostname: "0.0.0.0", port: port + 1, socket: { data: () => {} } }).stop(true);
      return port;
    } catch {
      // The neighbour is taken: look further.
    } finally {
      first.stop(true);
    }
  }
}

function gather(stream: ReadableStream<Uint8Array>): () => string {
  let text = "";
  const decoder = new TextDecoder();
  void (async () => {
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  })();
  return () => text;
}
