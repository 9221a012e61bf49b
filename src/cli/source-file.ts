/** Files of the author's that become part of a request: read whole, within a bound, as UTF-8. */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { EXIT } from "./exit-codes.ts";
import { PicFailure, usageFailure } from "./failures.ts";

/** A file's text, byte for byte. Throws PicFailure. @param shown the path, as it was given */
export function readText(path: string, shown: string, bytesMax: number): string {
  try {
    const { size } = statSync(path);
    if (size > bytesMax) throw tooLarge(shown, size, bytesMax);
    const bytes = readFileSync(path);
    if (bytes.length > bytesMax) throw tooLarge(shown, bytes.length, bytesMax);
    return decoded(bytes, shown);
  } catch (error) {
    if (error instanceof PicFailure) throw error;
    throw unreadable(shown, error);
  }
}

/** Throws PicFailure when it is no UTF-8. A byte order mark stays. */
export function decoded(bytes: Uint8Array, shown: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new PicFailure(`${shown} is no text in UTF-8`, { exit: EXIT.failure });
  }
}

/** Where a file or folder really lies. Throws PicFailure. */
export function realPath(path: string, shown: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw unreadable(shown, error);
  }
}

/**
 * For files of a folder that somebody else may have prepared: a pipe would be waited for, and a device read
 * for ever. Throws PicFailure.
 */
export function refuseDevice(path: string, shown: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || found.isFile() || found.isDirectory()) return;
  throw new PicFailure(`${shown} is no file`, { exit: EXIT.failure });
}

export function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

export function tooLarge(shown: string, bytes: number, bytesMax: number): PicFailure {
  return new PicFailure(`${shown} has ${bytes} bytes; at most ${bytesMax} are possible`, {
    exit: EXIT.failure,
  });
}

/** Throws PicFailure for what the operating system answered. */
export function unreadable(shown: string, error: unknown): PicFailure {
  const { code } = error as { code?: unknown };
  if (code === "ENOENT" || code === "ENOTDIR") return usageFailure(`There is no file ${shown}`);
  const why = code === "EISDIR" ? "it is a folder" : code === "EACCES" ? "not permitted" : code;
  return new PicFailure(`${shown} cannot be read: ${why ?? error}`, { exit: EXIT.failure });
}
