import type { Route } from "../domain/routes.ts";

/** What the table knows of a route, enough to run it without a database read. */
export interface RouteMatch {
  route: Route;
  params: Record<string, string>;
  /** What a prefix route's star took: no leading slash, "" when nothing. */
  rest: string;
}

export type MatchResult =
  | { kind: "match"; match: RouteMatch }
  /** Something is routed here, but not for this method. Sorted, without duplicates. */
  | { kind: "method_not_allowed"; allow: string[] }
  | { kind: "none" };

/** An immutable compiled table; replaced whole after a commit. */
export interface RoutingTable {
  /**
   * @param host lower-case, without port and trailing dot, IDN as punycode
   * @param path as normalised by the gateway: unreserved escapes decoded, no `//`, no dot segments
   */
  match(method: string, host: string, path: string): MatchResult;
  readonly size: number;
}
