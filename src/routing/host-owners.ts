/**
 * Which app a host belongs to: that of the host's own entry, else that of the longest wildcard above
 * it. A request costs one look-up for each label, routeHostLabelsMax at most, as no pattern has more.
 */
import type { AppHost } from "../domain/app-hosts.ts";
import { routeHostLabelsMax } from "../domain/limits.ts";
import { detectHostKind, type HostPattern, parseHost } from "../domain/routes.ts";

export class HostOwners {
  /** By name; of the wildcards without the star. */
  readonly #strict = new Map<string, AppHost>();
  readonly #wildcards = new Map<string, AppHost>();

  constructor(hosts: Iterable<AppHost> = []) {
    for (const host of hosts) this.add(host);
  }

  get size(): number {
    return this.#strict.size + this.#wildcards.size;
  }

  /** Throws PicError `invalid` when the pattern is none. */
  add(host: AppHost): void {
    const { kind, name } = parseHost(host.host, detectHostKind(host.host));
    (kind === "wildcard" ? this.#wildcards : this.#strict).set(name, host);
  }

  remove(host: string): void {
    if (host.startsWith("*.")) this.#wildcards.delete(host.slice(2));
    else this.#strict.delete(host);
  }

  removeApp(app_id: string): void {
    for (const host of [...this.values()]) if (host.app_id === app_id) this.remove(host.host);
  }

  /** The entry of that very pattern, or null. */
  get(pattern: HostPattern): AppHost | null {
    const { kind, name } = pattern;
    return (kind === "wildcard" ? this.#wildcards : this.#strict).get(name) ?? null;
  }

  *values(): Generator<AppHost> {
    yield* this.#strict.values();
    yield* this.#wildcards.values();
  }

  ofApp(app_id: string): AppHost[] {
    return [...this.values()].filter((host) => host.app_id === app_id);
  }

  /** Who owns the host of a request; null: nobody. @param host canonical */
  ownerOf(host: string): AppHost | null {
    const strict = this.#strict.get(host);
    if (strict !== undefined) return strict;
    return this.#wildcards.size === 0 ? null : this.#above(host);
  }

  /** The most specific entry that all hosts of a route's pattern lie in; null: there is none. */
  coverOf(pattern: HostPattern): AppHost | null {
    if (pattern.kind === "any") return null;
    if (pattern.kind === "strict") return this.ownerOf(pattern.name);
    return this.#wildcards.get(pattern.name) ?? this.#above(pattern.name);
  }

  /** The longest wildcard that takes the name. From the last label on, so that long names cost no more. */
  #above(name: string): AppHost | null {
    let found: AppHost | null = null;
    let dot = name.length;
    for (let labels = 0; labels < routeHostLabelsMax; labels += 1) {
      dot = name.lastIndexOf(".", dot - 1);
      if (dot <= 0) break;
      found = this.#wildcards.get(name.slice(dot + 1)) ?? found;
    }
    return found;
  }
}
