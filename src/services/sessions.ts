/**
 * Sessions: a token in the caller's hands, its SHA-256 in the database. Expiry slides while the
 * session is used (services/authentication.ts). Whoever has one sees where they are logged in, and can
 * end what they do not know.
 */
import { newToken, sha256Hex } from "../base/ids.ts";
import { type Account, type Actor, type Session, sessionIdOf } from "../domain/accounts.ts";
import { sessionTokenPrefix } from "../domain/credentials.ts";
import { PicError } from "../domain/errors.ts";
import { sessionAddressCharsMax, sessionsPurgedMax, userAgentCharsMax } from "../domain/limits.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import type { Database, Tx } from "../storage/port.ts";
import {
  deleteExpiredSessions,
  deleteOtherSessions,
  deleteSessionById,
  insertSession,
  listSessions,
} from "../storage/sessions.ts";
import type { Audit } from "./audit.ts";
import type { StoredClock } from "./clock.ts";

export interface SessionsOptions {
  db: Database;
  clock: StoredClock;
  audit: Audit;
  ttl_hours: number;
}

/** Where somebody logs in: as the network and the program there say. */
export interface LoginPlace {
  address: string;
  user_agent: string;
}

export interface OpenedSession {
  token: string;
  token_hash: string;
  expires_at: number;
}

/** A session as its owner sees it. */
export interface ShownSession extends Session {
  id: string;
  /** The one that asks. */
  current: boolean;
}

const nowhere: LoginPlace = { address: "", user_agent: "" };

export class Sessions {
  readonly #ttlMs: number;

  constructor(private readonly options: SessionsOptions) {
    this.#ttlMs = options.ttl_hours * 3_600_000;
  }

  /** A new session for `account`. The token is in no other place than this answer. */
  create(account: Pick<Account, "id">, place: LoginPlace = nowhere): Promise<OpenedSession> {
    return this.options.db.tx((tx) => this.open(tx, account, place));
  }

  /** As `create`, in the transaction of whoever decides that there may be one. */
  async open(tx: Tx, account: Pick<Account, "id">, place: LoginPlace): Promise<OpenedSession> {
    const { clock } = this.options;
    const token = newToken(sessionTokenPrefix);
    const token_hash = sha256Hex(token);
    const now = clock.now();
    const expires_at = now + this.#ttlMs;
    await insertSession(tx, {
      token_hash,
      account_id: account.id,
      created_at: now,
      expires_at,
      last_seen_at: now,
      address: shown(place.address, sessionAddressCharsMax),
      user_agent: shown(place.user_agent, userAgentCharsMax),
    });
    await deleteExpiredSessions(tx, now, sessionsPurgedMax);
    await clock.store(tx);
    return { token, token_hash, expires_at };
  }

  /** One's own, newest first. Throws PicError `invalid`. */
  async list(actor: Actor, page: PageRequest): Promise<Page<ShownSession>> {
    const { db, clock } = this.options;
    const { account_id, session_hash } = actor;
    const { items, next_cursor } = await listSessions(db, { account_id, now: clock.now() }, page);
    const shownOf = (session: Session): ShownSession => ({
      ...session,
      id: sessionIdOf(session.token_hash),
      current: session.token_hash === session_hash,
    });
    return { items: items.map(shownOf), next_cursor };
  }

  /** One's own; also the one that asks. Throws PicError `not_found`. */
  async end(actor: Actor, id: string): Promise<void> {
    const { db, audit } = this.options;
    await db.tx(async (tx) => {
      if (!(await deleteSessionById(tx, actor.account_id, id))) {
        throw new PicError("not_found", "There is no such session");
      }
      await audit.record(tx, actor, { action: "session.end", target: { kind: "session", id } });
    });
  }

  /** One's own but the one that asks; how many they were. */
  async endOthers(actor: Actor): Promise<number> {
    const { db, audit } = this.options;
    const { account_id, username, session_hash } = actor;
    if (session_hash === null) throw new Error("Only a session ends others");
    return db.tx(async (tx) => {
      const count = await deleteOtherSessions(tx, account_id, session_hash);
      if (count > 0) {
        await audit.record(tx, actor, {
          action: "session.end_others",
          target: { kind: "account", id: account_id, name: username },
          detail: { sessions: count },
        });
      }
      return count;
    });
  }
}

/** What a stranger says of itself, cut to a bound, on one line, as any database keeps it. */
function shown(text: string, charsMax: number): string {
  return text
    .slice(0, charsMax)
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu, " ");
}
