/**
 * Writes the archive that Linux unpacks as its first root (initramfs): cpio's "newc" format, as the
 * kernel's Documentation/driver-api/early-userspace/buffer-format.rst describes it. Everything
 * belongs to root, and there are no times, so that the same files give the same bytes.
 */

export interface CpioEntry {
  /** Without a slash in front; folders come before what is in them. */
  readonly path: string;
  readonly kind: "folder" | "file" | "link";
  /** Of a file; a link's target as text. */
  readonly content?: Uint8Array | string;
  /** Permissions of a file; folders and links have the usual ones. */
  readonly mode?: number;
}

const FOLDER = 0o040755;
const LINK = 0o120777;
const FILE = 0o100000;
const fileModeDefault = 0o644;
const alignment = 4;

/** The archive, not compressed: the kernel takes it as it is. */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, index) => {
    const { content = "" } = entry;
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    parts.push(...member({ inode: index + 1, mode: modeOf(entry), path: entry.path, bytes }));
  });
  const trailer = { inode: 0, mode: 0, path: "TRAILER!!!", bytes: new Uint8Array(0) };
  parts.push(...member(trailer));
  return new Uint8Array(Buffer.concat(parts));
}

function modeOf(entry: CpioEntry): number {
  if (entry.kind === "folder") return FOLDER;
  return entry.kind === "link" ? LINK : FILE | (entry.mode ?? fileModeDefault);
}

interface Member {
  inode: number;
  mode: number;
  path: string;
  bytes: Uint8Array;
}

/** Head and name, then the content, each filled up to four bytes. */
function member({ inode, mode, path, bytes }: Member): Uint8Array[] {
  const name = new TextEncoder().encode(`${path}\0`);
  // inode, mode, uid, gid, links, time, size, device ×4, length of the name, checksum (unused)
  const fields = [inode, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length, 0];
  const hex = fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0")).join("");
  const head = new TextEncoder().encode(`070701${hex}`);
  return [head, name, fill(head.length + name.length), bytes, fill(bytes.length)];
}

function fill(length: number): Uint8Array {
  return new Uint8Array((alignment - (length % alignment)) % alignment);
}
