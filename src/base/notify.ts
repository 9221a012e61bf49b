/**
 * Tells the service manager how a process fares: sd_notify(3), a datagram of `NAME=value` lines to
 * the socket that systemd names in NOTIFY_SOCKET. The runtime has no unix datagram sockets, so this
 * calls the C library, which systemd's machines have. Loaded only where a service manager is.
 *
 * Each message names its receiver anew: a connected socket would go on sending into the old one after
 * systemd has replaced itself (`systemctl daemon-reexec`).
 */
import { dlopen, FFIType, ptr } from "bun:ffi";

// The same numbers on x86-64 and ARM64 (asm-generic/socket.h, sys/socket.h).
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDTIMEO = 21;
const MSG_NOSIGNAL = 0x4000;

/** What the service manager asked for; config.ts reads it from the environment. */
export interface Supervisor {
  /** An absolute path, or `@` and an abstract name. */
  readonly socket: string;
  /** It ends the process after this long without a sign of life; null: it does not watch. */
  readonly watchdogMs: number | null;
}

export interface Notifier {
  /** Sends lines of `NAME=value`; false when nobody took them. Waits at most `sendMsMax`. */
  send(lines: readonly string[]): boolean;
  /** May be called twice. */
  close(): void;
}

/**
 * `socket` is that of a Supervisor. Null where there is no C library to call, or it refuses; what
 * follows is never thrown: nobody is served better because the service manager was not told.
 */
export function openNotifier(socket: string, sendMsMax: number): Notifier | null {
  if (process.platform !== "linux") return null;
  const library = openLibrary();
  if (library === null) return null;
  const { symbols, close } = library;
  const fd = symbols.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    close();
    return null;
  }
  const bound = timeval(sendMsMax);
  symbols.setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, ptr(bound), bound.byteLength);
  const address = socketAddress(socket);
  let isOpen = true;
  return {
    send(lines) {
      if (!isOpen || lines.length === 0) return false;
      const text = Buffer.from(lines.join("\n"));
      const to = ptr(address);
      const sent = symbols.sendto(fd, ptr(text), text.length, MSG_NOSIGNAL, to, address.length);
      return sent === text.length;
    },
    close() {
      if (!isOpen) return;
      isOpen = false;
      symbols.close(fd);
      close();
    },
  };
}

function openLibrary() {
  try {
    return dlopen("libc.so.6", {
      socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
      setsockopt: {
        args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32],
        returns: FFIType.i32,
      },
      sendto: {
        args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32, FFIType.ptr, FFIType.u32],
        returns: FFIType.i64_fast,
      },
      close: { args: [FFIType.i32], returns: FFIType.i32 },
    });
  } catch {
    return null;
  }
}

/** `struct timeval` of a 64-bit machine. */
function timeval(ms: number): BigInt64Array {
  return new BigInt64Array([
    BigInt(Math.floor(ms / 1_000)),
    BigInt(Math.floor((ms % 1_000) * 1_000)),
  ]);
}

/** `struct sockaddr_un`, as long as its name: an abstract one begins with a zero and ends with itself. */
function socketAddress(socket: string): Buffer {
  const name = Buffer.from(socket);
  if (name[0] === 0x40) name[0] = 0;
  const family = Buffer.alloc(2);
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat([family, name]);
}
