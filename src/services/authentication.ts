/**
 * Who a token belongs to: a session's, or an API key. Read anew for each request, in one statement with
 * whatever else has to be known to judge it, so that an end, a demotion or a lost membership counts at
 * once, on every server of the database.
 *
 * That something was used is written at most once a minute, because a card wears.
 */
import { sha256Hex } from "../base/ids.ts";
import type { Logger } from "../base/log.ts";
import { type Action, authorise, type ResourceRef } from "../domain/access.ts";
import type { Actor } from "../domain/accounts.ts";
import { parseApiKey } from "../domain/api-keys.ts";
import { PicError } from "../domain/errors.ts";
import { credentialTouchMs } from "../domain/limits.ts";
import { type Access, readKeyAccess, readSessionAccess } from "../storage/access.ts";
import { touchApiKey } from "../storage/api-keys.ts";
import type { Database, Tx } from "../storage/port.ts";
import { touchSession } from "../storage/sessions.ts";
import type { StoredClock } from "./clock.ts";

const sessionPattern = /^pcs_[A-Za-z0-9_-]{43}$/;

export interface AuthenticationOptions {
  db: Database;
  clock: StoredClock;
  log: Logger;
  session_ttl_hours: number;
}

/** Where a request comes from. */
export interface Origin {
  address: string;
  request_id: string;
}

export interface Authenticated {
  actor: Actor;
  /** Of what the address names; null: there is no such thing, or it names none. */
  resource_app_id: string | null;
}

export type Authenticate = (
  token: string,
  resource: ResourceRef,
  origin: Origin,
) => Promise<Authenticated | null>;

export class Authentication {
  readonly #ttlMs: number;
  /** Whose use is being written. */
  readonly #touched = new Set<string>();

  constructor(private readonly options: AuthenticationOptions) {
    this.#ttlMs = options.session_ttl_hours * 3_600_000;
  }

  /** Null: unknown, ended, expired, or of an account that is switched off. */
  async authenticate(
    token: string,
    resource: ResourceRef = { kind: "none" },
    origin: Origin = { address: "", request_id: "" },
  ): Promise<Authenticated | null> {
    const now = this.options.clock.now();
    const found = await this.#find(token, resource);
    if (found === null) return null;
    const { access, session_hash } = found;
    if (access.expires_at !== null && access.expires_at <= now) return null;
    // Nobody waits for it: with a database that does not answer, the request would do so twice.
    if (now - (access.used_at ?? 0) >= credentialTouchMs)
      void this.#touch(access, session_hash, now);
    const { account_id, username, role, memberships, key, resource_app_id } = access;
    const actor = { account_id, username, role, memberships, session_hash, key, ...origin };
    return { actor, resource_app_id };
  }

  /** Throws PicError `unauthenticated`, `not_found`, `forbidden`. */
  async authoriseScript(token: string | null, action: Action, id: string): Promise<Actor> {
    const found = token === null ? null : await this.authenticate(token, { kind: "script", id });
    if (found === null) {
      throw new PicError("unauthenticated", "This needs a token that may execute scripts");
    }
    const { actor, resource_app_id: app_id } = found;
    if (app_id === null) throw new PicError("not_found", "There is no such script");
    authorise(actor, action, { app_id }, "script");
    return actor;
  }

  async #find(
    token: string,
    resource: ResourceRef,
  ): Promise<{ access: Access; session_hash: string | null } | null> {
    const { db } = this.options;
    if (sessionPattern.test(token)) {
      const session_hash = sha256Hex(token);
      const access = await readSessionAccess(db, session_hash, resource);
      return access && { access, session_hash };
    }
    const key = parseApiKey(token);
    if (key === null) return null;
    const { prefix, secret } = key;
    const access = await readKeyAccess(db, { prefix, secret_hash: sha256Hex(secret) }, resource);
    return access && { access, session_hash: null };
  }

  /** Never rejects: a touch that fails or is lost with the power costs a minute of a session. */
  async #touch({ key }: Access, session_hash: string | null, now: number): Promise<void> {
    const { db, clock, log } = this.options;
    const what = session_hash ?? key?.id ?? "";
    if (this.#touched.has(what)) return;
    this.#touched.add(what);
    const write = (tx: Tx): Promise<unknown> =>
      session_hash === null
        ? touchApiKey(tx, what, now)
        : touchSession(tx, what, { last_seen_at: now, expires_at: now + this.#ttlMs });
    try {
      await db.tx(
        async (tx) => {
          await write(tx);
          await clock.store(tx);
        },
        { seen: { seq: 0 } },
      );
    } catch (error) {
      log.warn("The use of a credential could not be noted", { error });
    } finally {
      this.#touched.delete(what);
    }
  }
}
