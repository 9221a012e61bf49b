/**
 * Failed logins, counted per account and per address in windows of a quarter of an hour.
 *
 * A flood from elsewhere must not lock the owner out. So an address from which an account has
 * logged in is judged, for that account, by its own failures alone; all other addresses share the
 * account's count. What is left is that during an attack the owner cannot log in from a new place.
 * Only failures count. An attempt counts as failed from its start until it succeeds, so that many
 * at once get no more guesses than one after the other.
 *
 * All of it is in memory and bounded: a restart forgives.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { PicError } from "../domain/errors.ts";
import {
  loginFailuresPerAccountMax,
  loginFailuresPerAddressMax,
  loginFailureWindowMs,
  loginTrackedMax,
} from "../domain/limits.ts";

interface Window {
  failures: number;
  /** On the monotonic clock: setting the wall clock must not end it. */
  endsAt: number;
}

interface Bound {
  windows: LRUCache<string, Window>;
  key: string;
  max: number;
}

export interface Attempt {
  username: string;
  address: string;
}

export class LoginAttempts {
  readonly #accounts = new LRUCache<string, Window>({ max: loginTrackedMax });
  readonly #addresses = new LRUCache<string, Window>({ max: loginTrackedMax });
  readonly #known = new LRUCache<string, true>({ max: loginTrackedMax });

  constructor(private readonly clock: Clock) {}

  /** Throws PicError `too_many_attempts` when no more may be tried now. Counts nothing. */
  check(attempt: Attempt): void {
    const now = this.clock.monotonic();
    const waits = this.#bounds(attempt)
      .map(({ windows, key, max }) => {
        // Only looked at: names that nobody tried in earnest must not push out those of an attack.
        const window = windows.peek(key);
        return window !== undefined && window.failures >= max ? window.endsAt - now : 0;
      })
      .filter((wait) => wait > 0);
    if (waits.length === 0) return;
    throw new PicError("too_many_attempts", "Too many failed logins; try again later", {
      retry_after_s: Math.ceil(Math.max(...waits) / 1_000),
    });
  }

  /**
   * Checks, and counts a failure until `succeeded` is called.
   * @returns `succeeded`: takes the failure back and remembers the address
   */
  begin(attempt: Attempt): () => void {
    this.check(attempt);
    const counted = this.#bounds(attempt).map(({ windows, key }) => this.#window(windows, key));
    for (const window of counted) window.failures += 1;
    return () => {
      for (const window of counted) window.failures -= 1;
      this.#known.set(pairKey(attempt), true);
    };
  }

  #bounds(attempt: Attempt): Bound[] {
    const pair = pairKey(attempt);
    const account = this.#known.get(pair) === true ? pair : attempt.username;
    return [
      { windows: this.#accounts, key: account, max: loginFailuresPerAccountMax },
      {
        windows: this.#addresses,
        key: network(attempt.address),
        max: loginFailuresPerAddressMax,
      },
    ];
  }

  #window(windows: LRUCache<string, Window>, key: string): Window {
    const now = this.clock.monotonic();
    const found = windows.get(key);
    if (found !== undefined && found.endsAt > now) return found;
    const fresh = { failures: 0, endsAt: now + loginFailureWindowMs };
    windows.set(key, fresh);
    return fresh;
  }
}

function pairKey(attempt: Attempt): string {
  return `${attempt.username}\n${network(attempt.address)}`;
}

/** Who holds one IPv6 address holds its /64. An IPv4 address in IPv6 form is that IPv4 address. */
export function network(address: string): string {
  const plain = address.replace(/%.*$/, "").toLowerCase();
  const v4 = /^(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)$/.exec(plain)?.[1];
  if (v4 !== undefined) return v4;
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = new Array<string>(Math.max(0, 8 - left.length - right.length)).fill("0");
  const groups = tail === undefined ? left : [...left, ...zeros, ...right];
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
