/**
 * Who listens to what, over a connection that comes and goes.
 *
 * A message is heard by this process at its own commit, in order, before the transaction's promise
 * resolves, and by others through the database. So every message carries who sent it, and our own are
 * passed over when they come back: all but those of a transaction whose end we were not told of.
 */
import type { Logger } from "../base/log.ts";
import { postgresInDoubtMax, postgresStatementMsMax } from "../domain/limits.ts";
import type { PostgresConnection } from "./postgres-connection.ts";

export type Listener = (payload: string) => void;

/** Instead of a payload: messages may have been missed, anything may have changed. */
export const anything = "*";

interface Channel {
  listeners: Set<Listener>;
  /** Settles when the connection of this moment listens, or is lost. */
  ready: Promise<void>;
}

const envelope = /^(\w+)\.(\d+):/;

export class PostgresListeners {
  readonly #channels = new Map<string, Channel>();
  /** Messages of ours that may or may not have been sent. The oldest is forgotten first. */
  readonly #inDoubt = new Set<number>();
  #sent = 0;

  constructor(
    private readonly name: string,
    private readonly log: Logger,
    private readonly connection: () => PostgresConnection | null,
  ) {}

  /** Returns a function that stops listening, which may be called twice. */
  async add(channel: string, fn: Listener): Promise<() => void> {
    // One function may listen twice, and stops one at a time.
    const listener: Listener = (payload) => fn(payload);
    const known = this.#channels.get(channel);
    const entry = known ?? { listeners: new Set(), ready: this.#listen(channel) };
    this.#channels.set(channel, entry);
    entry.listeners.add(listener);
    await entry.ready;
    return () => {
      entry.listeners.delete(listener);
      if (entry.listeners.size > 0 || this.#channels.get(channel) !== entry) return;
      this.#channels.delete(channel);
      void this.connection()
        ?.run(`unlisten ${quoted(channel)}`, [], bound)
        .catch(() => {});
    };
  }

  /** Every channel on a new connection. */
  async begin(connection: PostgresConnection): Promise<void> {
    await Promise.all(
      [...this.#channels.keys()].map((channel) =>
        connection.run(`listen ${quoted(channel)}`, [], bound),
      ),
    );
  }

  /** A message as the database carries it, with the number it can be told by. */
  envelop(payload: string): { number: number; text: string } {
    this.#sent += 1;
    return { number: this.#sent, text: `${this.name}.${this.#sent}:${payload}` };
  }

  /** From the database. */
  heard(channel: string, text: string): void {
    const [head, sender, number] = envelope.exec(text) ?? [""];
    if (sender === this.name && !this.#inDoubt.delete(Number(number))) return;
    this.tell(channel, text.slice(head.length));
  }

  /** Our own message, whose transaction has committed. */
  tell(channel: string, payload: string): void {
    for (const listener of [...(this.#channels.get(channel)?.listeners ?? [])]) {
      this.#deliver(listener, payload);
    }
  }

  /** Our own message, of a transaction whose commit was not answered: it may have happened, or may yet. */
  doubt(channel: string, number: number): void {
    this.#inDoubt.add(number);
    const [oldest] = this.#inDoubt;
    if (this.#inDoubt.size > postgresInDoubtMax && oldest !== undefined)
      this.#inDoubt.delete(oldest);
    this.tell(channel, anything);
  }

  /** Messages may have been missed. */
  tellAll(): void {
    for (const channel of [...this.#channels.keys()]) this.tell(channel, anything);
  }

  clear(): void {
    this.#channels.clear();
  }

  /** Never rejects: on a connection that is lost, or not there, the next one listens. */
  async #listen(channel: string): Promise<void> {
    await this.connection()
      ?.run(`listen ${quoted(channel)}`, [], bound)
      .catch(() => {});
  }

  #deliver(listener: Listener, payload: string): void {
    try {
      listener(payload);
    } catch (error) {
      this.log.error("a listener failed", { error });
    }
  }
}

const bound = { msMax: postgresStatementMsMax };

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
