/** The routes of one pattern, by method. Several may share it as long as their methods differ. */
import { ROUTE_METHODS, type Route } from "../domain/routes.ts";

/** A route with what matching and answering need, so that nothing is parsed at request time. */
export interface Entry {
  readonly route: Route;
  /** Parameter names, and where their segments stand, in order. */
  readonly names: readonly string[];
  readonly positions: readonly number[];
  readonly leading_literals: number;
  /** For a prefix: where `rest` begins in the path. */
  readonly rest_at: number;
}

/** A set of methods: bit n for ROUTE_METHODS[n]. */
export type MethodSet = number;

export class Handlers {
  readonly #entries: Entry[] = [];
  #methods: MethodSet = 0;

  get methods(): MethodSet {
    return this.#methods;
  }

  /** The first route of a method stays: the conflict rule admits no second. */
  add(entry: Entry): void {
    if (this.#of(entry.route.method) !== null) return;
    this.#entries.push(entry);
    this.#methods |= 1 << ROUTE_METHODS.indexOf(entry.route.method);
  }

  /** The route of that very method, else ANY's; for HEAD, GET's comes before ANY's. */
  pick(method: string): Entry | null {
    const explicit = this.#of(method);
    if (explicit !== null) return explicit;
    const get = method === "HEAD" ? this.#of("GET") : null;
    return get ?? this.#of("ANY");
  }

  #of(method: string): Entry | null {
    for (const entry of this.#entries) if (entry.route.method === method) return entry;
    return null;
  }
}

/** Of two routes that match a HEAD request equally well, the one that is meant for it more. */
export function headRank(entry: Entry): number {
  if (entry.route.method === "HEAD") return 0;
  return entry.route.method === "GET" ? 1 : 2;
}

/** What a 405 allows, sorted. */
export function allowedMethods(methods: MethodSet): string[] {
  const allowed: string[] = ROUTE_METHODS.filter((_, bit) => methods & (1 << bit));
  if (allowed.includes("GET") && !allowed.includes("HEAD")) allowed.push("HEAD");
  return allowed.sort();
}
