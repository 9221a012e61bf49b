/** The other end of sd_notify for a test: a unix datagram socket, as systemd opens one. */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { rmSync } from "node:fs";

const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;
const messageBytesMax = 4_096;
const pollMs = 5;

export interface NotifySocket extends Disposable {
  /** For NOTIFY_SOCKET. */
  readonly name: string;
  /** Every message so far, as its lines. */
  messages(): string[][];
  /** Waits for a message with this line. Throws with what came instead. */
  line(wanted: string | RegExp, msMax: number): Promise<string>;
}

/** `name`: a path that does not exist yet, or `@` and an abstract name. */
export function openNotifySocket(name: string): NotifySocket {
  const { symbols, close } = dlopen("libc.so.6", {
    socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
    bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
    recv: {
      args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32],
      returns: FFIType.i64_fast,
    },
    close: { args: [FFIType.i32], returns: FFIType.i32 },
  });
  const address = Buffer.from(`\x01\0${name.replace(/^@/, "\0")}`);
  const fd = symbols.socket(AF_UNIX, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
  if (symbols.bind(fd, ptr(address), address.length) !== 0) throw new Error(`cannot bind ${name}`);
  const buffer = Buffer.alloc(messageBytesMax);
  const received: string[][] = [];
  const messages = (): string[][] => {
    for (;;) {
      const bytes = Number(symbols.recv(fd, ptr(buffer), buffer.length, 0));
      if (bytes < 0) return received;
      received.push(buffer.toString("utf8", 0, bytes).split("\n"));
    }
  };
  return {
    name,
    messages,
    async line(wanted, msMax) {
      const fits = (text: string): boolean =>
        typeof wanted === "string" ? text === wanted : wanted.test(text);
      for (const deadline = performance.now() + msMax; performance.now() < deadline; ) {
        const found = messages().flat().find(fits);
        if (found !== undefined) return found;
        await Bun.sleep(pollMs);
      }
      throw new Error(`no ${wanted} in ${JSON.stringify(received)}`);
    },
    [Symbol.dispose]() {
      symbols.close(fd);
      close();
      if (name.startsWith("/")) rmSync(name, { force: true });
    },
  };
}
