/** The role itself: a process, its socket, its cell. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIMIT_DEFAULTS, type ScriptLimits } from "../../src/domain/limits.ts";
import {
  type FrameChannel,
  joinPayload,
  openFrameChannel,
  splitPayload,
} from "../../src/sandbox/frames.ts";
import {
  CELL_BYTES,
  CELL_ENTRIES,
  CELL_RUNNING,
  type ChildStats,
  type DoneHeader,
  FRAME_CALL,
  FRAME_CANCEL,
  FRAME_DONE,
  FRAME_FORGET,
  FRAME_NEED,
  FRAME_PROGRAM,
  FRAME_READY,
  FRAME_REPLY,
  FRAME_REST,
  FRAME_RUN,
  FRAME_STATS,
  readCallHeader,
  replyHeader,
} from "../../src/sandbox/protocol.ts";
import { handler, makeProgram } from "./child-setup.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const SOCKET_FD = 3;

interface Frame {
  type: number;
  execution: number;
  payload: string;
}

interface Child {
  channel: FrameChannel;
  cell: Int32Array;
  process: Bun.Subprocess;
  /** The next frame of a type; frames of other types before it are kept. */
  next(type: number): Promise<Frame>;
  program(source: string): string;
  start(execution: number, program: string, limits?: Partial<ScriptLimits>): void;
  done(): Promise<DoneHeader & { execution: number; body: string }>;
}

const open: { child: Child; folder: string }[] = [];

afterEach(async () => {
  for (const { child, folder } of open.splice(0)) {
    child.process.kill("SIGKILL");
    await child.process.exited;
    rmSync(folder, { recursive: true, force: true });
  }
});

async function setup(): Promise<Child> {
  const folder = mkdtempSync(join(tmpdir(), "picloud-child-test-"));
  const path = join(folder, "cell");
  writeFileSync(path, new Uint8Array(CELL_BYTES));
  const command = [process.execPath, MAIN, "sandbox", `--cell=${path}`, "--image-cache-mb=8"];
  const child = Bun.spawn(command, {
    cwd: "/",
    env: {},
    stdio: ["ignore", "ignore", "ignore", "socket-fd"] as never,
  });
  const frames: Frame[] = [];
  const waiting: { type: number; resolve: (frame: Frame) => void }[] = [];
  const channel = await openFrameChannel(
    (child as never as { stdio: number[] }).stdio[SOCKET_FD] as number,
    {
      onFrame(type, execution, payload) {
        const index = waiting.findIndex((waiter) => waiter.type === type);
        if (index === -1) frames.push({ type, execution, payload });
        else waiting.splice(index, 1)[0]?.resolve({ type, execution, payload });
      },
      onClose: () => {},
    },
  );
  const bytes = Bun.mmap(path, { shared: true });
  const bundle: Child = {
    channel,
    process: child,
    cell: new Int32Array(bytes.buffer, bytes.byteOffset, CELL_BYTES / 4),
    next(type) {
      const index = frames.findIndex((frame) => frame.type === type);
      const [frame] = index === -1 ? [] : frames.splice(index, 1);
      if (frame !== undefined) return Promise.resolve(frame);
      return new Promise((resolve) => waiting.push({ type, resolve }));
    },
    program(source) {
      const program = makeProgram(source);
      channel.send(FRAME_PROGRAM, 0, JSON.stringify(program));
      return program.id;
    },
    start(execution, program, limits = {}) {
      const header = { program, limits: { ...LIMIT_DEFAULTS, ...limits }, timeout_ms: 5_000 };
      channel.send(FRAME_RUN, execution, joinPayload(JSON.stringify(header), '{"n":1}'));
    },
    async done() {
      const { execution, payload } = await bundle.next(FRAME_DONE);
      const { header, text } = splitPayload(payload);
      return { ...(JSON.parse(header) as DoneHeader), execution, body: text };
    },
  };
  open.push({ child: bundle, folder });
  expect(JSON.parse((await bundle.next(FRAME_READY)).payload)).toEqual({
    pid: child.pid,
    warm: false,
  });
  return bundle;
}

describe("a sandbox child", () => {
  test("runs a program and answers", async () => {
    const child = await setup();
    child.start(7, child.program(handler("console.log('x'); return { n: ctx.n }")));
    expect(await child.done()).toMatchObject({
      execution: 7,
      status: "success",
      status_code: 200,
      body_kind: "json",
      body: '{"n":1}',
      logs: [{ level: "info", message: "x", fields: null }],
    });
  });

  test("sends host calls and takes the replies", async () => {
    const child = await setup();
    child.start(
      1,
      child.program(
        handler('const { kv } = await import("picloud"); return await kv.collection("c").get("k")'),
      ),
    );
    const { execution, payload } = await child.next(FRAME_CALL);
    const { header, text } = splitPayload(payload);
    const { call, name } = readCallHeader(header);
    expect([execution, name, JSON.parse(text)]).toEqual([
      1,
      "kv.get",
      { collection: "c", key: "k" },
    ]);
    child.channel.send(FRAME_REPLY, 1, joinPayload(replyHeader(call, true), '{"a":"\\u0000ä"}'));
    expect((await child.done()).body).toBe('{"a":"\\u0000ä"}');
  });

  test("gives an execution up when it is told to", async () => {
    const child = await setup();
    child.start(1, child.program(handler("await new Promise((r) => setTimeout(r, 60_000))")));
    child.channel.send(FRAME_CANCEL, 1, "");
    child.channel.send(FRAME_CANCEL, 99, "");
    expect(await child.done()).toMatchObject({ execution: 1, status: "timeout" });
  });

  test("asks for a program that it does not hold", async () => {
    const child = await setup();
    const source = handler("return 5");
    const program = child.program(source);
    child.channel.send(FRAME_FORGET, 0, JSON.stringify(program));
    child.start(3, program);
    const { execution, payload } = await child.next(FRAME_NEED);
    expect([execution, JSON.parse(payload)]).toEqual([3, program]);
    child.program(source);
    expect((await child.done()).body).toBe("5");
  });

  test("shows in the cell which execution runs guest code, and no other", async () => {
    const child = await setup();
    const before = child.cell[CELL_ENTRIES] ?? 0;
    child.start(41, child.program(handler("for (;;);")), { cpu_ms: 300 });
    const deadline = performance.now() + 3_000;
    while (Atomics.load(child.cell, CELL_RUNNING) !== 41 && performance.now() < deadline) {
      await Bun.sleep(1);
    }
    expect(Atomics.load(child.cell, CELL_RUNNING)).toBe(41);
    expect(await child.done()).toMatchObject({ budget: "cpu_ms" });
    expect(Atomics.load(child.cell, CELL_RUNNING)).toBe(0);
    expect(child.cell[CELL_ENTRIES]).toBeGreaterThan(before);
  });

  test("warms up and collects garbage when nothing is to do", async () => {
    const child = await setup();
    child.channel.send(FRAME_REST, 0, "");
    expect(JSON.parse((await child.next(FRAME_READY)).payload)).toMatchObject({ warm: true });
    const stats = JSON.parse((await child.next(FRAME_STATS)).payload) as ChildStats;
    expect(stats).toMatchObject({ programs: 0, executions: 0 });
    child.channel.send(FRAME_REST, 0, "");
    await child.next(FRAME_STATS);
    child.start(1, child.program(handler("return 1")));
    expect((await child.done()).body).toBe("1");
  });

  test("answers while it warms up", async () => {
    const child = await setup();
    const program = child.program(handler("return 1"));
    child.channel.send(FRAME_REST, 0, "");
    for (let execution = 1; execution <= 20; execution += 1) {
      child.start(execution, program);
      expect((await child.done()).body).toBe("1");
    }
  });

  test("carries inputs and results of several megabytes", async () => {
    const child = await setup();
    const limits = { memory_mb: 64, response_kb: 10_240, cpu_ms: 5_000 };
    child.start(
      1,
      child.program(handler("return 'é'.repeat(4 << 20).length + 'x'.repeat(5 << 20)")),
      limits,
    );
    const { status, body } = await child.done();
    expect(status).toBe("success");
    expect(body.length).toBe(7 + (5 << 20) + 2);
  });

  test("ends when its socket closes", async () => {
    const child = await setup();
    child.start(1, child.program(handler("await new Promise((r) => setTimeout(r, 60_000))")));
    child.channel.close();
    expect(await child.process.exited).toBe(0);
  });

  test.each([
    ["of an unknown type", 200, "{}"],
    ["that is no JSON", FRAME_PROGRAM, "{"],
    ["without a header", FRAME_RUN, "{}"],
    ["whose header is no object", FRAME_RUN, "5\n{}"],
  ])("ends at a frame %s", async (_, type, payload) => {
    const child = await setup();
    child.channel.send(type, 1, payload);
    expect(await child.process.exited).not.toBe(0);
  });
});

test("without its flags the role says what it needs", async () => {
  const child = Bun.spawn([process.execPath, MAIN, "sandbox"], {
    stderr: "pipe",
    stdout: "ignore",
  });
  expect(await child.exited).not.toBe(0);
  expect(await child.stderr.text()).toContain("--cell=");
});
