/** Makes routes for tests. */
import { checkRoute, type Route, type RouteInput } from "../../src/domain/routes.ts";

let made = 0;

/** `"GET a.example.com/users/:id"`, or a path alone. */
export function route(text: string, more: Partial<RouteInput> = {}): Route {
  const [first = "", second] = text.split(" ");
  const method = (second === undefined ? "ANY" : first) as RouteInput["method"];
  const place = second ?? first;
  const slash = place.indexOf("/");
  const input: RouteInput = { method, host: place.slice(0, slash), path: place.slice(slash) };
  made += 1;
  return {
    ...checkRoute({ ...input, ...more }).route,
    id: text,
    app_id: "app",
    script_id: `script-${made}`,
    created_at: 0,
    created_by: null,
  };
}

export interface Random {
  /** An integer from 0 to below `end`. */
  below(end: number): number;
  pick<T>(items: readonly T[]): T;
}

/** mulberry32: small, seeded, good enough to make cases. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const below = (end: number): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end);
  };
  return { below, pick: (items) => items[below(items.length)] as (typeof items)[number] };
}
