import { describe, expect, test } from "bun:test";
import {
  type ByteSink,
  FrameDecoder,
  FrameError,
  FrameWriter,
  joinPayload,
  splitPayload,
} from "../../src/sandbox/frames.ts";

type Frame = [type: number, execution: number, text: string];

const FRAMES: Frame[] = [
  [1, 0, ""],
  [2, 1, "hello"],
  [66, 0xffff_ffff, "null\0and ünïcödé 🦊\n\n"],
  [67, 7, "x".repeat(200_000)],
  [255, 8, '{"a":1}\n[]'],
];

/** A sink that takes at most `takes` bytes at a time. */
function sinkOf(
  takes: number,
): ByteSink & { bytes: () => Buffer; closed: boolean; writes: number } {
  const parts: Buffer[] = [];
  return {
    closed: false,
    writes: 0,
    write(bytes) {
      if (this.closed) return -1;
      this.writes += 1;
      const taken = bytes.subarray(0, takes);
      parts.push(Buffer.from(taken));
      return taken.length;
    },
    bytes: () => Buffer.concat(parts),
  };
}

function decode(chunks: Iterable<Uint8Array>): Frame[] {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder((...frame) => frames.push(frame));
  for (const chunk of chunks) decoder.push(chunk);
  return frames;
}

function* cut(bytes: Buffer, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe("frames", () => {
  test("come back whole from chunks of any size", () => {
    const sink = sinkOf(Number.POSITIVE_INFINITY);
    const writer = new FrameWriter(sink);
    for (const frame of FRAMES) writer.send(...frame);
    writer.flush();
    for (const size of [1, 3, 4, 5, 9, 10, 1_000, 65_536, 1_000_000]) {
      expect(decode(cut(sink.bytes(), size))).toEqual(FRAMES);
    }
  });

  test("of one turn leave in one write", async () => {
    const sink = sinkOf(Number.POSITIVE_INFINITY);
    const writer = new FrameWriter(sink);
    for (let number = 0; number < 100; number += 1) writer.send(2, number, "run");
    expect(sink.writes).toBe(0);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    expect(sink.writes).toBe(1);
    expect(decode([sink.bytes()]).length).toBe(100);
  });

  test("leave earlier, in batches, where the sender allows it", async () => {
    const sink = sinkOf(Number.POSITIVE_INFINITY);
    const writer = new FrameWriter(sink);
    for (let number = 0; number < 10; number += 1) {
      writer.send(2, number, "run");
      writer.pace();
    }
    expect(sink.writes).toBe(2);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    expect(sink.writes).toBe(3);
    expect(decode([sink.bytes()]).map(([, number]) => number)).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ]);
  });

  test("wait in order while the other end takes nothing", () => {
    const sink = sinkOf(100);
    const writer = new FrameWriter(sink);
    for (const frame of FRAMES) writer.send(...frame);
    writer.flush();
    expect(sink.writes).toBe(1);
    writer.flush();
    expect(sink.writes).toBe(1);
    expect(writer.pendingBytes).toBeGreaterThan(199_000);
    while (writer.pendingBytes > 0) writer.drained();
    expect(decode([sink.bytes()])).toEqual(FRAMES);
  });

  test("sent to an end that is gone are dropped", () => {
    const sink = sinkOf(100);
    const writer = new FrameWriter(sink);
    writer.send(2, 1, "run");
    sink.closed = true;
    writer.flush();
    writer.send(2, 2, "run");
    expect(writer.pendingBytes).toBe(0);
  });

  test("keep lone surrogates from breaking the stream", () => {
    const sink = sinkOf(Number.POSITIVE_INFINITY);
    const writer = new FrameWriter(sink);
    writer.send(2, 1, "\ud800x");
    writer.send(2, 2, "next");
    writer.flush();
    expect(decode([sink.bytes()]).map((frame) => frame[2])).toEqual(["\ufffdx", "next"]);
  });

  test.each([
    ["no type", Buffer.from([0, 0, 0, 0])],
    ["half a number", Buffer.from([4, 0, 0, 0, 1, 0, 0, 0])],
    ["more than a frame may have", Buffer.from([0xff, 0xff, 0xff, 0xff, 1])],
  ])("of a wrong length (%s) are refused before any memory is taken", (_, bytes) => {
    expect(() => decode([bytes])).toThrow(FrameError);
    expect(() => decode(cut(bytes, 1))).toThrow(FrameError);
  });

  test("hold a header and a text", () => {
    expect(splitPayload(joinPayload('{"a":1}', "b\nc"))).toEqual({
      header: '{"a":1}',
      text: "b\nc",
    });
    expect(() => splitPayload("no newline")).toThrow(FrameError);
  });
});
