/**
 * Where a backup goes to and comes from: a file, or a pipe (`-`). A file is written beside its name
 * and takes it when it is whole and on the disk; only its owner can read it.
 */
import {
  closeSync,
  createReadStream,
  existsSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  write,
} from "node:fs";
import { dirname } from "node:path";
import { PicError } from "../domain/errors.ts";
import { backupSyncBytes } from "../domain/limits.ts";

/** Takes the bytes of a backup in order. */
export interface BackupSink {
  /** Resolves when there is room for more. Throws PicError `unavailable`. */
  write(bytes: Uint8Array): Promise<void>;
  /** All has been written: makes it last. Throws PicError `unavailable`, `conflict`. */
  commit(): Promise<void>;
  /** Leaves nothing behind; does nothing after `commit`. */
  discard(): void;
}

/** The name that stands for standard output and standard input. */
export const pipeName = "-";

/**
 * A file that is not there yet, unless `force` is given. Throws PicError `conflict` when it is,
 * `unavailable` when it cannot be made.
 */
export function createBackupFile(path: string, { force }: { force: boolean }): BackupSink {
  refuseExisting(path, force);
  const partial = `${path}.partial`;
  const fd = attempt(partial, () => {
    // Of a backup that was killed. Made anew and never followed: somebody's link must not be.
    rmSync(partial, { force: true });
    return openSync(partial, "wx", 0o600);
  });
  let isOpen = true;
  const close = (): void => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  let unsynced = 0;
  const isOurs = (): boolean =>
    statSync(partial, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino;
  return {
    write: async (bytes) => {
      await writeAll(fd, bytes, partial);
      unsynced += bytes.length;
      if (unsynced < backupSyncBytes) return;
      unsynced = 0;
      attempt(partial, () => fdatasyncSync(fd));
    },
    commit: async () => {
      attempt(partial, () => fsyncSync(fd));
      if (!isOurs()) throw new PicError("conflict", `Another backup is writing ${partial}.`);
      refuseExisting(path, force);
      attempt(path, () => renameSync(partial, path));
      close();
      syncFolderOf(path);
    },
    discard: () => {
      if (!isOpen) return;
      if (isOurs()) rmSync(partial, { force: true });
      close();
    },
  };
}

/** Standard output. Throws PicError `invalid` when that is a terminal. */
export function createBackupPipe(stream: NodeJS.WriteStream): BackupSink {
  if (stream.isTTY) {
    throw new PicError("invalid", "A backup is no text for a terminal: name a file, or redirect.");
  }
  let fail: ((error: unknown) => void) | null = null;
  stream.on("error", (error: Error) => fail?.(broken("standard output", error)));
  return {
    write: (bytes) =>
      new Promise((resolve, reject) => {
        fail = reject;
        stream.write(bytes, (error) => {
          if (error == null) resolve();
          else reject(broken("standard output", error));
        });
      }),
    commit: async () => {},
    discard: () => {},
  };
}

/** The bytes of a file. Throws PicError `not_found` or `unavailable` while it is read. */
export async function* readBackupFile(path: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) {
      yield chunk as Uint8Array;
    }
  } catch (error) {
    throw broken(path, error);
  }
}

function refuseExisting(path: string, force: boolean): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) {
    throw new PicError("conflict", `${path} is a folder: name a file in it.`);
  }
  if (force || !existsSync(path)) return;
  throw new PicError("conflict", `${path} exists already; --force replaces it.`);
}

function writeAll(fd: number, bytes: Uint8Array, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const step = (offset: number): void => {
      if (offset === bytes.length) {
        resolve();
        return;
      }
      write(fd, bytes, offset, bytes.length - offset, null, (error, written) => {
        if (error === null) step(offset + written);
        else reject(broken(path, error));
      });
    };
    step(0);
  });
}

/** So that the new name survives a power loss; some file systems of sticks and shares cannot. */
function syncFolderOf(path: string): void {
  try {
    const fd = openSync(dirname(path), "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {}
}

function attempt<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw broken(path, error);
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file or folder",
  ENOTDIR: "a part of the path is no folder",
  EISDIR: "it is a folder",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "its disk is read-only",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EFBIG: "its file system takes no file so large",
  EPIPE: "nobody reads it any more",
  EIO: "the disk failed",
};

function broken(path: string, error: unknown): unknown {
  const { code } = error as { code?: unknown };
  if (error instanceof PicError || typeof code !== "string") return error;
  return new PicError(
    code === "ENOENT" ? "not_found" : "unavailable",
    `${path}: ${reasons[code] ?? (error as Error).message}.`,
    { cause: error },
  );
}
