/**
 * Frames on a byte stream: `u32 length of what follows | u8 type | u32 execution | UTF-8 text`,
 * little-endian (protocol.ts says what the types mean). Both ends of the socket pair use this file.
 *
 * Writing: frames gather in one buffer that leaves with one `write` when there are a few of them, or at
 * the end of the event-loop turn. Fewer writes cost less, but the other end sleeps until they come: with
 * one a turn the two ends worked by turns, and 16 requests at a time took 17 % longer than with batches
 * of four to eight.
 * What the kernel does not take waits for `drain`; the caller bounds it by looking at `pendingBytes`.
 * Reading: whole frames are taken straight out of the chunk, the rest is kept without being copied
 * again for each chunk that follows, so that a frame of many chunks costs one copy.
 */
import { counters } from "../base/metrics.ts";
import { frameBytesMax } from "../domain/limits.ts";

const HEADER_BYTES = 9;
const LENGTH_BYTES = 4;
/** Covers type and execution, which the length counts. */
const LENGTH_MIN = HEADER_BYTES - LENGTH_BYTES;
const BUFFER_BYTES = 64 * 1024;
/** So many frames need not wait for the end of the turn. */
const BATCH_FRAMES = 4;

/** The stream does not follow the protocol: its other end is not to be trusted any more. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

export type FrameHandler = (type: number, execution: number, text: string) => void;

/** Where bytes go: a Bun socket, or anything that takes what it can and says how much. */
export interface ByteSink {
  /** Returns how many bytes were taken; negative when the other end is gone. */
  write(bytes: Uint8Array): number;
}

/** A payload of a header and a text: the header is JSON, which has no newline of its own. */
export function joinPayload(header: string, text: string): string {
  return `${header}\n${text}`;
}

/** The two parts of what `joinPayload` made. Throws FrameError when there is no newline. */
export function splitPayload(payload: string): { header: string; text: string } {
  const at = payload.indexOf("\n");
  if (at === -1) throw new FrameError("a payload without a header line");
  return { header: payload.slice(0, at), text: payload.slice(at + 1) };
}

/** Takes chunks of any size and gives whole frames, in order. */
export class FrameDecoder {
  #kept: Buffer[] = [];
  #keptBytes = 0;
  /** Bytes that must be there before the frame under way can be given; 0 when not known. */
  #neededBytes = 0;

  constructor(private readonly onFrame: FrameHandler) {}

  /** Throws FrameError for a length that no frame may have; the decoder is of no use afterwards. */
  push(chunk: Uint8Array): void {
    let bytes = asBuffer(chunk);
    if (this.#keptBytes > 0) {
      this.#kept.push(Buffer.from(bytes));
      this.#keptBytes += bytes.length;
      if (this.#keptBytes < Math.max(this.#neededBytes, LENGTH_BYTES)) return;
      bytes = this.#kept.length === 1 ? (this.#kept[0] as Buffer) : Buffer.concat(this.#kept);
      this.#kept = [];
      this.#keptBytes = 0;
    }
    this.#take(bytes);
  }

  #take(bytes: Buffer): void {
    let offset = 0;
    this.#neededBytes = 0;
    while (bytes.length - offset >= LENGTH_BYTES) {
      const length = bytes.readUInt32LE(offset);
      if (length < LENGTH_MIN || length > frameBytesMax) {
        throw new FrameError(`a frame of ${length} bytes`);
      }
      const end = offset + LENGTH_BYTES + length;
      if (end > bytes.length) {
        this.#neededBytes = end - offset;
        break;
      }
      counters.ipcReceived += 1;
      const type = bytes[offset + LENGTH_BYTES] as number;
      const execution = bytes.readUInt32LE(offset + LENGTH_BYTES + 1);
      this.onFrame(type, execution, bytes.toString("utf8", offset + HEADER_BYTES, end));
      offset = end;
    }
    if (offset < bytes.length) {
      this.#kept = [Buffer.from(bytes.subarray(offset))];
      this.#keptBytes = bytes.length - offset;
    }
  }
}

/** Gathers frames and writes them in batches. */
export class FrameWriter {
  #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #start = 0;
  #end = 0;
  #scheduled = false;
  /** Frames since the last write. */
  #gathered = 0;
  /** The kernel's buffer is full: nothing is written before `drained`. */
  #blocked = false;
  #closed = false;

  constructor(private readonly sink: ByteSink) {}

  /** Bytes that were sent but not yet taken by the kernel. */
  get pendingBytes(): number {
    return this.#end - this.#start;
  }

  /** Throws FrameError for a text that no frame can hold; sends nothing after `close`. */
  send(type: number, execution: number, text: string): void {
    if (this.#closed) return;
    // UTF-8 takes at most 3 bytes for each UTF-16 unit; the exact count is worth it for long texts.
    const textBytesMax =
      text.length * 3 <= BUFFER_BYTES ? text.length * 3 : Buffer.byteLength(text, "utf8");
    if (textBytesMax + LENGTH_MIN > frameBytesMax) {
      throw new FrameError(`a text of ${textBytesMax} bytes is too long for a frame`);
    }
    this.#reserve(HEADER_BYTES + textBytesMax);
    const buffer = this.#buffer;
    const at = this.#end;
    const length =
      text.length === 0 ? 0 : buffer.write(text, at + HEADER_BYTES, textBytesMax, "utf8");
    buffer.writeUInt32LE(length + LENGTH_MIN, at);
    buffer[at + LENGTH_BYTES] = type;
    buffer.writeUInt32LE(execution, at + LENGTH_BYTES + 1);
    this.#end = at + HEADER_BYTES + length;
    counters.ipcSent += 1;
    this.#gathered += 1;
    if (!this.#scheduled && !this.#blocked) {
      this.#scheduled = true;
      setImmediate(this.#onTurnEnd);
    }
  }

  /** Writes when there is enough for a batch. Not below guest code: a write must not end halfway. */
  pace(): void {
    if (this.#gathered >= BATCH_FRAMES) this.flush();
  }

  /** Writes now what was gathered, as far as the kernel takes it. */
  flush(): void {
    if (this.#closed || this.#blocked || this.#start === this.#end) return;
    counters.ipcWrites += 1;
    this.#gathered = 0;
    const taken = this.sink.write(this.#buffer.subarray(this.#start, this.#end));
    if (taken < 0) {
      this.close();
      return;
    }
    this.#start += taken;
    if (this.#start < this.#end) {
      this.#blocked = true;
      return;
    }
    this.#start = 0;
    this.#end = 0;
    // One large frame must not hold its memory for ever.
    if (this.#buffer.length > BUFFER_BYTES * 16) this.#buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  }

  /** The kernel takes bytes again. */
  drained(): void {
    this.#blocked = false;
    this.flush();
  }

  /** Drops what was not written; `send` does nothing from now on. */
  close(): void {
    this.#closed = true;
    this.#start = 0;
    this.#end = 0;
  }

  readonly #onTurnEnd = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#buffer.length) return;
    const pending = this.#end - this.#start;
    let size = this.#buffer.length;
    while (size < pending + bytes) size *= 2;
    const target = size === this.#buffer.length ? this.#buffer : Buffer.allocUnsafe(size);
    this.#buffer.copy(target, 0, this.#start, this.#end);
    this.#buffer = target;
    this.#start = 0;
    this.#end = pending;
  }
}

export interface FrameChannelHandlers {
  onFrame: FrameHandler;
  /** The other end is gone, or did not follow the protocol (`error` says what it did). Called once. */
  onClose: (error: Error | null) => void;
}

/** One end of the socket pair. */
export interface FrameChannel {
  /** Throws FrameError for a text that no frame can hold. */
  send(type: number, execution: number, text: string): void;
  /** To be called after `send`, outside of guest code: writes when there is enough for a batch. */
  pace(): void;
  /** Writes at once what `send` gathered; needed only before the thread is kept busy. */
  flush(): void;
  readonly pendingBytes: number;
  /** Closes this end; `onClose` follows. May be called twice. */
  close(): void;
}

/** Opens a channel over a connected socket, which it owns from now on. */
export async function openFrameChannel(
  fd: number,
  handlers: FrameChannelHandlers,
): Promise<FrameChannel> {
  let failure: Error | null = null;
  let closed = false;
  // Made after the connect: nothing may be read or drained before, but an end may come first.
  let writer: FrameWriter | null = null;
  const decoder = new FrameDecoder(handlers.onFrame);
  const onClose = (): void => {
    if (closed) return;
    closed = true;
    writer?.close();
    handlers.onClose(failure);
  };
  const options: Bun.FdSocketOptions = {
    fd,
    socket: {
      data(from, chunk) {
        if (failure !== null) return;
        try {
          decoder.push(chunk);
        } catch (error) {
          failure = error instanceof Error ? error : new Error(String(error));
          from.terminate();
        }
      },
      drain: () => writer?.drained(),
      end: (from) => void from.end(),
      close: onClose,
      error(from, error) {
        failure ??= error;
        from.terminate();
      },
    },
  };
  // The declared overloads leave out the one that takes `fd`.
  const socket = await Bun.connect(options as Bun.FdSocketOptions & Bun.UnixSocketOptions);
  const opened = new FrameWriter(socket);
  writer = opened;
  if (closed) opened.close();
  return {
    send: (type, execution, text) => opened.send(type, execution, text),
    pace: () => opened.pace(),
    flush: () => opened.flush(),
    get pendingBytes() {
      return opened.pendingBytes;
    },
    close: () => void socket.end(),
  };
}

function asBuffer(chunk: Uint8Array): Buffer {
  return chunk instanceof Buffer
    ? chunk
    : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}
