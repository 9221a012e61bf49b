/**
 * API keys: made, shown, revoked. The raw key is in no other place than the answer to the call that made
 * it; what is kept is a hash.
 *
 * One sees one's own keys, those that are bound to an app which one administers, and, as an admin of the
 * instance, those of the accounts that one may change. Who acts with a key that is bound to an app sees
 * nothing beside that app.
 */
import { sha256Hex } from "../base/ids.ts";
import { type Action, authorise, can, refused, roleIn } from "../domain/access.ts";
import type { Actor } from "../domain/accounts.ts";
import {
  type ApiKey,
  checkApiKey,
  checkHandedOn,
  formatApiKey,
  isWithin,
  sortedScopes,
} from "../domain/api-keys.ts";
import { PicError } from "../domain/errors.ts";
import { apiKeysPerAccountMax } from "../domain/limits.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import { getAccountByRef } from "../storage/accounts.ts";
import {
  type ApiKeyFilter,
  countApiKeysOfAccount,
  deleteApiKey,
  getApiKey,
  insertApiKey,
  isPrefixTaken,
  listApiKeys,
  type OwnedApiKey,
} from "../storage/api-keys.ts";
import type { Database, Tx } from "../storage/port.ts";
import { accountsLock, presentActor } from "./account-lock.ts";
import { findApp } from "./apps.ts";
import type { Audit } from "./audit.ts";
import type { StoredClock } from "./clock.ts";
import { isRefTo } from "./members.ts";

export interface ApiKeysOptions {
  db: Database;
  clock: StoredClock;
  newId: () => string;
  /** 32 random bytes. */
  newSecret: () => Uint8Array;
  audit: Audit;
}

export interface ApiKeyInput {
  name: string;
  scopes: readonly string[];
  /** Id or slug; absent: for every app of the account. */
  app?: string | null;
  /** Epoch ms; absent: never. */
  expires_at?: number | null;
}

/** A key as somebody sees it: without the name of an app that they do not see. */
export interface ShownApiKey extends OwnedApiKey {
  is_expired: boolean;
}

export class ApiKeys {
  constructor(private readonly options: ApiKeysOptions) {}

  /** Throws PicError `not_found` (the app), `invalid`, `forbidden`, `conflict` (there are too many). */
  async create(actor: Actor, input: ApiKeyInput): Promise<{ key: ShownApiKey; raw_token: string }> {
    const { db, clock, newId, audit } = this.options;
    const app_id = await this.#appId(actor, input.app ?? null);
    const now = clock.now();
    const asked = { name: input.name, app_id, expires_at: input.expires_at ?? null };
    checkApiKey({ ...asked, scopes: input.scopes, now });
    const scopes = sortedScopes(input.scopes);
    if (actor.key !== null) checkHandedOn(actor.key, { ...asked, scopes });
    return db.tx(async (tx) => {
      await this.#lockOwner(tx, actor);
      const { raw, prefix, secret } = await this.#newKey(tx);
      const key: ApiKey = {
        id: newId(),
        account_id: actor.account_id,
        ...asked,
        ...{ prefix, scopes },
        created_at: now,
        last_used_at: null,
      };
      await insertApiKey(tx, { ...key, secret_hash: sha256Hex(secret) });
      await audit.record(tx, actor, {
        action: "api_key.create",
        target: { kind: "api_key", id: key.id, name: key.name },
        app_id,
        detail: { prefix, scopes, expires_at: isoOrNull(key.expires_at) },
      });
      await clock.store(tx);
      return { key: this.#show(actor, await foundIn(tx, key.id)), raw_token: raw };
    });
  }

  /**
   * Newest first: one's own, or what the filter asks for, expired ones included. With an app, an account
   * that does not exist has no keys.
   * Throws PicError `not_found` (the app, the account), `forbidden`, `invalid` (a bad cursor).
   */
  async list(
    actor: Actor,
    asked: { app?: string; account?: string },
    page: PageRequest,
  ): Promise<Page<ShownApiKey>> {
    const filter = await this.#filter(actor, asked);
    if (filter === null) return { items: [], next_cursor: null };
    const { items, next_cursor } = await listApiKeys(this.options.db, filter, page);
    return { items: items.map((key) => this.#show(actor, key)), next_cursor };
  }

  /** Throws PicError `not_found`. */
  async get(actor: Actor, id: string): Promise<ShownApiKey> {
    const key = await getApiKey(this.options.db, id);
    if (key === null || !isVisible(actor, key)) throw notFound();
    return this.#show(actor, key);
  }

  /** Revokes a key at once. Throws PicError `not_found`, `forbidden`. */
  async delete(actor: Actor, id: string): Promise<void> {
    await this.options.db.tx(async (tx) => {
      await tx.lock(accountsLock);
      const key = await getApiKey(tx, id);
      if (key === null || !isVisible(actor, key)) throw notFound();
      if (!isRevocable(actor, key)) throw revocationRefused(actor);
      if (!(await this.#revoke(tx, actor, key))) throw notFound();
    });
  }

  /** Logs out whoever acts with a key: it revokes itself, unless somebody has done so already. */
  async end(actor: Actor): Promise<void> {
    const { key: acting } = actor;
    if (acting === null) throw new Error("Only a key can end as one");
    await this.options.db.tx(async (tx) => {
      await tx.lock(accountsLock);
      const key = await getApiKey(tx, acting.id);
      if (key !== null) await this.#revoke(tx, actor, key);
    });
  }

  /** Resolves false when it is gone meanwhile. */
  async #revoke(tx: Tx, actor: Actor, key: OwnedApiKey): Promise<boolean> {
    if (!(await deleteApiKey(tx, key.id))) return false;
    await this.options.audit.record(tx, actor, {
      action: "api_key.delete",
      target: { kind: "api_key", id: key.id, name: key.name },
      app_id: key.app_id,
      detail: { prefix: key.prefix, account: key.username },
    });
    return true;
  }

  async #appId(actor: Actor, ref: string | null): Promise<string | null> {
    if (ref === null) return null;
    const { id } = await findApp(this.options.db, ref);
    authorise(actor, "app.read", { app_id: id }, "app");
    return id;
  }

  /**
   * Nobody else changes the account, its password or its keys until the transaction ends: whoever is
   * shut out meanwhile leaves no key behind that would live on. And two that make one at the same time do
   * not both get the last place.
   */
  async #lockOwner(tx: Tx, actor: Actor): Promise<void> {
    await tx.lock(accountsLock);
    await presentActor(tx, actor);
    if ((await countApiKeysOfAccount(tx, actor.account_id)) >= apiKeysPerAccountMax) {
      throw new PicError(
        "conflict",
        `An account has at most ${apiKeysPerAccountMax} API keys, expired ones included: revoke one that is not needed`,
      );
    }
  }

  /** Ends: of 2^40 prefixes at most a few thousand are taken. */
  async #newKey(tx: Tx): Promise<ReturnType<typeof formatApiKey>> {
    for (;;) {
      const made = formatApiKey(this.options.newSecret());
      if (!(await isPrefixTaken(tx, made.prefix))) return made;
    }
  }

  /** What of a list the actor may see, or null: nothing, and that is no error. */
  async #filter(
    actor: Actor,
    { app: appRef, account: accountRef }: { app?: string; account?: string },
  ): Promise<ApiKeyFilter | null> {
    const { db } = this.options;
    if (appRef !== undefined) {
      const { id: app_id } = await findApp(db, appRef);
      authorise(actor, "app_key.read", { app_id }, "app");
      if (accountRef === undefined) return { app_id };
      const account = await getAccountByRef(db, accountRef);
      return account && { app_id, account_id: account.id };
    }
    if (accountRef === undefined || isRefTo(actor, accountRef)) {
      const bound = actor.key?.app_id ?? null;
      return { account_id: actor.account_id, ...(bound === null ? {} : { app_id: bound }) };
    }
    // Before anything is looked for: who may not ask learns no names.
    authorise(actor, "account.read", {}, "account");
    const account = await getAccountByRef(db, accountRef);
    if (account === null) throw new PicError("not_found", "There is no such account");
    authorise(actor, "account.read", { account }, "account");
    return { account_id: account.id };
  }

  #show(actor: Actor, key: OwnedApiKey): ShownApiKey {
    const isAppVisible = key.app_id !== null && roleIn(actor, key.app_id) !== null;
    return {
      ...key,
      app: isAppVisible ? key.app : null,
      is_expired: key.expires_at !== null && key.expires_at <= this.options.clock.now(),
    };
  }
}

async function foundIn(tx: Tx, id: string): Promise<OwnedApiKey> {
  const key = await getApiKey(tx, id);
  if (key === null) throw new Error("A key that was just made is not there");
  return key;
}

function isVisible(actor: Actor, key: OwnedApiKey): boolean {
  if (key.account_id === actor.account_id) {
    const bound = actor.key?.app_id ?? null;
    return bound === null || key.app_id === bound;
  }
  return isAdministered(actor, key, { app: "app_key.read", account: "account.read" });
}

/** A key revokes itself, and with it those of its account that can do no more than it. */
function isRevocable(actor: Actor, key: OwnedApiKey): boolean {
  const { key: by } = actor;
  if (key.account_id === actor.account_id) {
    if (by === null || by.id === key.id) return true;
    if (can(actor, "api_key.write") === "allowed" && isWithin(by, key)) return true;
  }
  return isAdministered(actor, key, { app: "app_key.write", account: "account.write" });
}

/** By the app that it is bound to, or by whose it is. */
function isAdministered(
  actor: Actor,
  key: OwnedApiKey,
  actions: { app: Action; account: Action },
): boolean {
  const { app_id } = key;
  const account = { id: key.account_id, role: key.account_role };
  return (
    (app_id !== null && can(actor, actions.app, { app_id }) === "allowed") ||
    can(actor, actions.account, { account }) === "allowed"
  );
}

function revocationRefused(actor: Actor): PicError {
  if (can(actor, "api_key.write") !== "allowed") return refused(actor, "api_key.write");
  return new PicError("forbidden", "This API key cannot revoke one that may do more than it");
}

function notFound(): PicError {
  return new PicError("not_found", "There is no such API key");
}

function isoOrNull(epochMs: number | null): string | null {
  return epochMs === null ? null : new Date(epochMs).toISOString();
}
