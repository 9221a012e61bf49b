/**
 * The credentials file: which servers this user is signed in to, and which of them is meant when none
 * is named. Whoever reads it acts as its owner, so it has mode 0600 in a folder with mode 0700, and one
 * that others can read, or that is somebody else's, is refused. It is replaced as a whole, by a rename.
 */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { credentialsBytesMax } from "../domain/limits.ts";
import { configFolder, type Surroundings } from "./environment.ts";
import { EXIT } from "./exit-codes.ts";
import { PicFailure } from "./failures.ts";

export interface Credential {
  token: string;
  username: string;
  /** Of the key that `pic login` made; null: the token was given, and is not ours to revoke. */
  key_id: string | null;
  /** ISO 8601; null: never, or not known. */
  expires_at: string | null;
}

/** @see serverUrl for the form of an address */
export interface Credentials {
  current: string | null;
  servers: Readonly<Record<string, Credential>>;
}

const fileVersion = 1;
const forOthers = 0o077;
const noCredentials: Credentials = { current: null, servers: {} };

export function credentialsPath(around: Surroundings): string {
  return join(configFolder(around), "credentials.json");
}

/** What is stored; nothing when there is no file. Throws PicFailure for a file that cannot be trusted. */
export function readCredentials(around: Surroundings): Credentials {
  const path = credentialsPath(around);
  let text: string;
  try {
    text = readOwn(path, around.userId);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return noCredentials;
    if (error instanceof PicFailure) throw error;
    throw refused(`The credentials file ${path} cannot be read (${errorCode(error)})`);
  }
  return parse(text, path);
}

export function storeCredential(around: Surroundings, url: string, credential: Credential): void {
  const { servers } = readCredentials(around);
  write(around, { current: url, servers: { ...servers, [url]: credential } });
}

/** The server that is meant when none is named. */
export function makeCurrent(around: Surroundings, url: string): void {
  write(around, { ...readCredentials(around), current: url });
}

/** Resolves false when there was none. The one that is left becomes the current one. */
export function deleteCredential(around: Surroundings, url: string): boolean {
  const { current, servers } = readCredentials(around);
  if (servers[url] === undefined) return false;
  const { [url]: _, ...rest } = servers;
  const [only = null, ...more] = Object.keys(rest);
  const next = current !== url ? current : more.length === 0 ? only : null;
  write(around, { current: next, servers: rest });
  return true;
}

function readOwn(path: string, userId: number | null): string {
  const file = openSync(path, "r");
  try {
    const { mode, uid, size } = fstatSync(file);
    if (userId !== null && uid !== userId) {
      throw refused(
        `The credentials file ${path} belongs to another user`,
        "run pic as that user, or set PICLOUD_URL and PICLOUD_TOKEN",
      );
    }
    if (userId !== null && (mode & forOthers) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, "0");
      throw refused(
        `The credentials file ${path} may be used by others (mode ${octal}): its keys may be known to them`,
        `chmod 600 '${path}', and when somebody may have read it: pic logout, pic login`,
      );
    }
    if (size > credentialsBytesMax) throw refused(`The credentials file ${path} is too large`);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

function parse(text: string, path: string): Credentials {
  const damaged = `The credentials file ${path} is damaged`;
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    throw refused(damaged, "move it away, then sign in again: pic login");
  }
  if (!isRecord(found)) throw refused(damaged, "move it away, then sign in again: pic login");
  if (found.version !== fileVersion) {
    throw refused(`The credentials file ${path} is of another version of pic`, "update pic");
  }
  const servers = isRecord(found.servers) ? Object.entries(found.servers) : [];
  return {
    current: typeof found.current === "string" ? found.current : null,
    servers: Object.fromEntries(
      servers.flatMap(([url, entry]) => (isCredential(entry) ? [[url, entry]] : [])),
    ),
  };
}

function write(around: Surroundings, { current, servers }: Credentials): void {
  const path = credentialsPath(around);
  const folder = dirname(path);
  const scratch = `${path}.${around.randomName()}`;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const file = openSync(scratch, "wx", 0o600);
    try {
      writeSync(file, `${JSON.stringify({ version: fileVersion, current, servers }, null, 2)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(scratch, path);
  } catch (error) {
    rmSync(scratch, { force: true });
    throw new PicFailure(`The credentials file ${path} cannot be written (${errorCode(error)})`, {
      exit: EXIT.failure,
      next: "make the folder writable, or set PICLOUD_URL and PICLOUD_TOKEN instead",
    });
  }
}

function refused(message: string, next?: string): PicFailure {
  return new PicFailure(message, {
    exit: EXIT.notSignedIn,
    ...(next === undefined ? {} : { next }),
  });
}

function isCredential(value: unknown): value is Credential {
  if (!isRecord(value)) return false;
  const isTextOrNull = (field: unknown): boolean => field === null || typeof field === "string";
  return (
    typeof value.token === "string" &&
    typeof value.username === "string" &&
    isTextOrNull(value.key_id) &&
    isTextOrNull(value.expires_at)
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function errorCode(error: unknown): string {
  return String((error as { code?: unknown } | null)?.code ?? error);
}
