/**
 * The audit trail: each change is told in its own transaction, so that there is no change without an
 * entry and no entry without its change.
 *
 * What takes several transactions, such as an import, is told in the first of them that changes something,
 * as `state: started`, and in the last, with counts: a crash in between leaves the first. What one of them
 * is enough for is told once.
 */
import type { Clock } from "../base/clock.ts";
import type { Actor } from "../domain/accounts.ts";
import { isAppId } from "../domain/apps.ts";
import {
  type AuditEntry,
  type AuditedChange,
  auditActionPattern,
  boundedEntry,
  cleaned,
} from "../domain/audit.ts";
import { invalidField } from "../domain/errors.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import { getAppBySlug } from "../storage/apps.ts";
import { insertAuditEntry, listAuditEntries, type OldEntries } from "../storage/audit.ts";
import type { Database, Seen, Tx } from "../storage/port.ts";

export interface AuditOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
}

/** Who else changes something: the program itself, or somebody at the server's own command line. */
export type Doer = Actor | "system" | "command";

/** Which entries; what is absent does not matter. */
export interface AuditQuery {
  /** An account's id, or the username of then. */
  actor?: string;
  /** `script.create`, or `script.*` for all of a noun. */
  action?: string;
  /** An app's id, also of one that is gone, or a slug of now. */
  app?: string;
  /** The id of what was changed, or its name of then. */
  target?: string;
  /** Inclusive, epoch ms. */
  since?: number;
  /** Exclusive, epoch ms. */
  until?: number;
}

export class Audit {
  #onWritten: (bytes: number) => void = () => {};

  constructor(private readonly options: AuditOptions) {}

  /** `fn` is told of every entry that is written, about how long it is. */
  watchWrites(fn: (bytes: number) => void): void {
    this.#onWritten = fn;
  }

  /** In the transaction of the change. */
  async record(tx: Tx, doer: Doer, change: AuditedChange): Promise<void> {
    const { clock, newId } = this.options;
    const entry = {
      id: newId(),
      at: clock.now(),
      ...doneBy(doer),
      action: change.action,
      target_kind: change.target.kind,
      target_id: change.target.id,
      target_name: change.target.name ?? "",
      app_id: change.app_id ?? null,
      detail: change.detail ?? {},
    };
    const bounded = boundedEntry(entry);
    await insertAuditEntry(tx, bounded);
    tx.afterCommit(() => this.#onWritten(JSON.stringify(bounded).length));
  }

  /** Of itself, in the transaction that deletes its oldest entries before their age. */
  purged(tx: Tx, { entries, newest_at }: OldEntries): Promise<void> {
    const detail = { entries, up_to: new Date(newest_at).toISOString() };
    const target = { kind: "audit", id: "audit" };
    return this.record(tx, "system", { action: "audit.purged", target, detail });
  }

  /** For a change that takes several transactions. */
  long(doer: Doer, change: AuditedChange): LongChange {
    return new LongChange(this.options.db, (tx, detail) =>
      this.record(tx, doer, { ...change, detail: { ...change.detail, ...detail } }),
    );
  }

  /** Newest first. Throws PicError `invalid` for the field that is wrong. */
  async list(query: AuditQuery, page: PageRequest): Promise<Page<AuditEntry>> {
    const { actor, action, app, target, ...rest } = query;
    if (action !== undefined && !auditActionPattern.test(action)) {
      throw invalidField("action", "must be like script.create, or script.* for all of a noun");
    }
    const by =
      actor === undefined
        ? {}
        : isAppId(actor)
          ? { actor_id: actor }
          : { actor_name: cleaned(actor) };
    const filter = {
      ...rest,
      ...by,
      ...(target === undefined ? {} : { target: cleaned(target) }),
      ...(action === undefined ? {} : { action }),
      ...(app === undefined ? {} : { app_id: await this.#appId(app) }),
    };
    return listAuditEntries(this.options.db, filter, page);
  }

  async #appId(ref: string): Promise<string> {
    if (isAppId(ref)) return ref;
    const app = await getAppBySlug(this.options.db, cleaned(ref));
    if (app !== null) return app.id;
    throw invalidField("app", "there is no such app; one that is gone is found by its id");
  }
}

type Detail = Readonly<Record<string, unknown>>;

/** What one transaction of several did. */
export interface Step<T> {
  value: T;
  /** False: this one changed nothing. */
  isChange: boolean;
  /** What the last one tells of the whole; null: it is not known to be the last. */
  whole: Detail | null;
}

/** A change that takes several transactions. */
export class LongChange {
  #state: "new" | "started" | "finished" = "new";

  constructor(
    private readonly db: Database,
    private readonly tell: (tx: Tx, detail: Detail) => Promise<void>,
  ) {}

  /** One of its transactions. It may be given up and run anew. */
  async step<T>(work: (tx: Tx) => Promise<Step<T>>, options?: { seen: Seen }): Promise<T> {
    let state = this.#state;
    const value = await this.db.tx(async (tx) => {
      const done = await work(tx);
      state = this.#state;
      if (done.isChange && done.whole !== null) {
        await this.tell(tx, done.whole);
        state = "finished";
      } else if (done.isChange && state === "new") {
        await this.tell(tx, { state: "started" });
        state = "started";
      }
      return done.value;
    }, options);
    this.#state = state;
    return value;
  }

  /** What has begun, and whose last transaction was not known to be that, is told in one more. */
  async end(whole: Detail): Promise<void> {
    if (this.#state !== "started") return;
    await this.db.tx((tx) => this.tell(tx, whole));
    this.#state = "finished";
  }
}

function doneBy(doer: Doer) {
  if (typeof doer === "string") {
    return { actor_id: null, actor_name: "", credential: doer, address: "", request_id: "" };
  }
  return {
    actor_id: doer.account_id,
    actor_name: doer.username,
    credential: doer.key === null ? "session" : `key:${doer.key.prefix}`,
    address: doer.address,
    request_id: doer.request_id,
  };
}
