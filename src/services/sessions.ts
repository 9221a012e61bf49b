/**
 * Sessions: a token in the caller's hands, its SHA-256 in the database. Expiry slides while the
 * session is used; it is written at most once a minute, because a card wears.
 *
 * A short cache spares the database a read per request. A logout or a password reset in this
 * process is seen at once, in another process within sessionCacheMs (or at once, where the database
 * tells it).
 */
import { LRUCache } from "lru-cache";
import { newToken, sha256Hex } from "../base/ids.ts";
import type { Logger } from "../base/log.ts";
import type { Account, Actor } from "../domain/accounts.ts";
import { sessionTokenPrefix } from "../domain/credentials.ts";
import {
  sessionCacheMax,
  sessionCacheMs,
  sessionsPurgedMax,
  sessionTouchMs,
} from "../domain/limits.ts";
import { getAccount } from "../storage/accounts.ts";
import type { Database, Tx } from "../storage/port.ts";
import {
  deleteExpiredSessions,
  deleteSession,
  deleteSessionsOfAccount,
  getSession,
  insertSession,
  touchSession,
} from "../storage/sessions.ts";
import type { StoredClock } from "./clock.ts";

const tokenPattern = /^pcs_[A-Za-z0-9_-]{43}$/;
const channel = "sessions";

export interface SessionsOptions {
  db: Database;
  clock: StoredClock;
  log: Logger;
  ttl_hours: number;
}

interface Live {
  actor: Actor;
  expires_at: number;
  last_seen_at: number;
  /** On the monotonic clock. */
  stale_at: number;
}

export class Sessions {
  readonly #live = new LRUCache<string, Live>({ max: sessionCacheMax });
  readonly #ttlMs: number;
  /** Raised by every invalidation: a read that began before one may not fill the cache after it. */
  #generation = 0;

  constructor(private readonly options: SessionsOptions) {
    this.#ttlMs = options.ttl_hours * 3_600_000;
  }

  /** Listens for sessions that other processes end. Returns a function that stops listening. */
  listen(): Promise<() => void> {
    return this.options.db.listen(channel, () => this.#forget());
  }

  /** A new session for `account`. The token is in no other place than this answer. */
  async create(account: Account): Promise<{ token: string; expires_at: number }> {
    const { db, clock } = this.options;
    const token = newToken(sessionTokenPrefix);
    const now = clock.now();
    const expires_at = now + this.#ttlMs;
    await db.tx(async (tx) => {
      await insertSession(tx, {
        token_hash: sha256Hex(token),
        account_id: account.id,
        created_at: now,
        expires_at,
        last_seen_at: now,
      });
      await deleteExpiredSessions(tx, now, sessionsPurgedMax);
      await clock.store(tx);
    });
    return { token, expires_at };
  }

  /** Who holds `token`, or null: unknown, ended, expired, or of an account that is switched off. */
  async authenticate(token: string, now = this.options.clock.now()): Promise<Actor | null> {
    if (!tokenPattern.test(token)) return null;
    const hash = sha256Hex(token);
    const live = await this.#find(hash);
    if (live === null || live.expires_at <= now) return null;
    // Nobody waits for it: with a database that does not answer, the request would do so twice.
    if (now - live.last_seen_at >= sessionTouchMs) void this.#touch(hash, live, now);
    return live.actor;
  }

  async logout(actor: Actor): Promise<void> {
    const { db } = this.options;
    this.#forget();
    await db.tx(async (tx) => {
      await deleteSession(tx, actor.session_hash);
      await this.#announce(tx, actor.account_id);
    });
  }

  /** Ends every session of an account, inside the transaction that is the reason for it. */
  async endAll(tx: Tx, accountId: string): Promise<void> {
    await deleteSessionsOfAccount(tx, accountId);
    await this.#announce(tx, accountId);
  }

  async #announce(tx: Tx, accountId: string): Promise<void> {
    await this.options.db.notify(tx, channel, accountId);
    tx.afterCommit(() => this.#forget());
  }

  async #find(hash: string): Promise<Live | null> {
    const { db, clock } = this.options;
    const cached = this.#live.get(hash);
    if (cached !== undefined && cached.stale_at > clock.monotonic()) return cached;
    const generation = this.#generation;
    const session = await getSession(db, hash);
    const account = session === null ? null : await getAccount(db, session.account_id);
    if (session === null || account === null || !account.is_active) {
      this.#live.delete(hash);
      return null;
    }
    const live: Live = {
      actor: {
        account_id: account.id,
        username: account.username,
        role: account.role,
        session_hash: hash,
      },
      expires_at: session.expires_at,
      last_seen_at: session.last_seen_at,
      stale_at: clock.monotonic() + sessionCacheMs,
    };
    if (generation === this.#generation) this.#live.set(hash, live);
    return live;
  }

  /** Never rejects: a touch that fails or is lost with the power costs a minute of the session. */
  async #touch(hash: string, live: Live, now: number): Promise<void> {
    const { db, clock, log } = this.options;
    live.last_seen_at = now;
    live.expires_at = now + this.#ttlMs;
    const { last_seen_at, expires_at } = live;
    try {
      await db.tx(
        async (tx) => {
          await touchSession(tx, hash, { last_seen_at, expires_at });
          await clock.store(tx);
        },
        { seen: { seq: 0 } },
      );
    } catch (error) {
      log.warn("A session could not be prolonged", { error });
    }
  }

  #forget(): void {
    this.#generation += 1;
    this.#live.clear();
  }
}
