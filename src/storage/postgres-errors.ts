/**
 * Errors of PostgreSQL, of its client and of the network in the port's words. SQLSTATE codes:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 *
 * No message here holds a value of a statement or the address's password.
 */
import { PicError } from "../domain/errors.ts";
import { TransactionConflict } from "./transaction-conflict.ts";

/** By the whole code, else by its class (the first two characters). */
const unavailable: Readonly<Record<string, string>> = {
  "08": "The connection to the database was lost.",
  "25006": "The database is read-only.",
  "25P03": "The transaction ran too long.",
  "40003": "Nobody knows whether the transaction was completed.",
  "53": "The database has no room or memory left, or too many connections.",
  "53100": "The disk of the database is full.",
  "53200": "There is not enough memory for the database.",
  "53300": "The database has too many connections.",
  "55P03": "The database is locked by somebody else.",
  "57": "The database is stopping or was stopped.",
  "57014": "The database took too long.",
  "57P03": "The database is starting.",
  "58": "The database cannot read or write its files.",
  XX001: "The database is damaged.",
  XX002: "The database is damaged.",
};

/** Of the system and of the client: what happened to the connection, or why there is none. */
const connectionCodes: ReadonlySet<string> = new Set([
  ..."CONNECTION_CLOSED CONNECTION_DESTROYED CONNECTION_ENDED CONNECT_TIMEOUT".split(" "),
  ..."ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ETIMEDOUT EHOSTUNREACH EHOSTDOWN".split(" "),
  ..."ENETUNREACH ENETDOWN ENOTCONN ENOTFOUND EAI_AGAIN ENOENT EADDRNOTAVAIL".split(" "),
  ..."EMFILE ENFILE ERR_SOCKET_CLOSED DNS_ENOTFOUND DNS_ETIMEOUT DNS_ESERVFAIL".split(" "),
]);

/** The text that PostgreSQL gave to what went wrong, or the system; "" when there is none. */
export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}

/** True for an answer of PostgreSQL, as against a failure of the connection to it. */
export function isAnswer(error: unknown): boolean {
  return (
    codeOf(error).length === 5 && typeof (error as { severity?: unknown }).severity === "string"
  );
}

/** An error in the port's words; a defect comes as it is. */
export function translate(error: unknown): unknown {
  if (error instanceof PicError) return error;
  const code = codeOf(error);
  if (!isAnswer(error)) {
    return connectionCodes.has(code)
      ? lost("The connection to the database was lost.", error)
      : error;
  }
  if (code === "23505") return new PicError("conflict", "It exists already.", { cause: error });
  if (code === "23503") {
    return new PicError("conflict", "It refers to something that does not exist.", {
      cause: error,
    });
  }
  if (code === "22021" || code === "22P05") {
    return new PicError("invalid", "The database cannot keep this text.", { cause: error });
  }
  if (code.startsWith("40") && code !== "40003") return new TransactionConflict(error);
  const message = unavailable[code] ?? unavailable[code.slice(0, 2)];
  return message === undefined ? error : lost(message, error);
}

export function lost(message: string, cause?: unknown): PicError {
  return new PicError("unavailable", message, cause === undefined ? {} : { cause });
}

/**
 * Why a connection could not be opened, for a person; null when it is worth another try: nobody is
 * there yet, or the database is starting, stopping or full.
 */
export function refusalOf(error: unknown): string | null {
  const code = codeOf(error);
  if (!isAnswer(error))
    return connectionCodes.has(code) || error instanceof PicError ? null : plain(error);
  if (code === "28P01" || code === "28000") {
    return "the database refuses this user or this password";
  }
  if (code === "3D000") return "there is no database of this name";
  if (code === "42501") return "this user may not use the database";
  if (/^(08|53|57|58)/.test(code)) return null;
  return plain(error);
}

/** What to say about a failure that is waited out. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error);
  if (error instanceof PicError) return error.message;
  return isAnswer(error) ? plain(error) : code === "" ? plain(error) : code;
}

function plain(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
