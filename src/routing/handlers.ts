/** The routes of one pattern, by method. Several may share it as long as their methods differ. */
import type { Route } from "../domain/routes.ts";

/** A route with what matching and answering need, so that nothing is parsed at request time. */
export interface Entry {
  readonly route: Route;
  /** Parameter names and where their segments stand, in order. */
  readonly params: readonly { name: string; position: number }[];
  readonly leading_literals: number;
  /** For a prefix: where `rest` begins in the path. */
  readonly rest_at: number;
}

export class Handlers {
  readonly #byMethod = new Map<string, Entry>();

  /** The first route of a method stays: the conflict rule admits no second. */
  add(entry: Entry): void {
    if (!this.#byMethod.has(entry.route.method)) this.#byMethod.set(entry.route.method, entry);
  }

  /** The route of that very method, else ANY's; for HEAD, GET's comes before ANY's. */
  pick(method: string): Entry | undefined {
    const explicit = this.#byMethod.get(method);
    if (explicit !== undefined) return explicit;
    const get = method === "HEAD" ? this.#byMethod.get("GET") : undefined;
    return get ?? this.#byMethod.get("ANY");
  }

  collectMethods(into: Set<string>): void {
    for (const method of this.#byMethod.keys()) into.add(method);
  }
}

/** Of two routes that match a HEAD request equally well, the one that is meant for it more. */
export function headRank(entry: Entry): number {
  if (entry.route.method === "HEAD") return 0;
  return entry.route.method === "GET" ? 1 : 2;
}
