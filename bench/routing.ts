/** The cost of one match in tables of 10,000 routes, in the shapes that are worst for it. */
import type { Route } from "../src/domain/routes.ts";
import { compileTable } from "../src/routing/table.ts";
import { fixed, type Row } from "./table.ts";

interface Shape {
  name: string;
  routes: Route[];
  requests: Case[];
}

interface Case {
  host: string;
  path: string;
  /** Which route it reaches, or none. */
  reaches: Route | null;
}

const routeCount = 10_000;
const matchCount = 400_000;
/** One sample covers so many matches: to read the clock costs 0.03 µs, on an ARM board up to 0.1. */
const sampleSize = 20;

export function routingRows(): Row[] {
  const measured = shapes().map((shape) => ({ name: shape.name, ...measure(shape) }));
  const worst = Math.max(...measured.map((shape) => shape.p99));
  const detail = measured
    .map((shape) => `${shape.name} ${fixed(shape.p50)}/${fixed(shape.p99)}`)
    .join(", ");
  const nested = measure(nestedHosts());
  return [
    {
      what: `one match, ${routeCount} routes of the worst shape, p99`,
      target: "<= 2 µs",
      measured: `${fixed(worst)} µs`,
      reached: worst <= 2,
      detail: `p50/p99 in µs: ${detail}`,
    },
    {
      what: "one miss at 12 hosts within hosts, p99",
      target: "",
      measured: `${fixed(nested.p99)} µs`,
      reached: null,
      detail: `p50 ${fixed(nested.p50)} µs; at each host it goes down 30 levels of prefixes`,
    },
  ];
}

function measure(shape: Shape): { p50: number; p99: number } {
  const table = compileTable(shape.routes);
  if (table.size !== routeCount) throw new Error(`${shape.name}: ${table.size} routes`);
  for (const { host, path, reaches } of shape.requests) {
    const result = table.match("GET", host, path);
    const reached = result.kind === "match" ? result.match.route : null;
    if (reached !== reaches) throw new Error(`${shape.name}: ${path} reached ${reached?.path}`);
  }
  const requests = shape.requests.map(({ host, path }) => ({
    host: Buffer.from(host),
    path: Buffer.from(path),
  }));
  const samples: number[] = [];
  const run = (keep: boolean): void => {
    for (let index = 0; index < matchCount; index += sampleSize) {
      // Strings of their own, as a request has them: the engine keeps a string's hash once it has it.
      const batch = Array.from({ length: sampleSize }, (_, step) => {
        const request = requests[(index + step * 7919) % requests.length];
        return { host: request?.host.toString("latin1"), path: request?.path.toString("latin1") };
      });
      const startedAt = Bun.nanoseconds();
      for (const { host, path } of batch) table.match("GET", host ?? "", path ?? "");
      if (keep) samples.push((Bun.nanoseconds() - startedAt) / sampleSize / 1000);
    }
  };
  run(false);
  run(true);
  samples.sort((a, b) => a - b);
  const at = (share: number): number => samples[Math.floor(samples.length * share)] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99) };
}

function shapes(): Shape[] {
  const behindOnePrefix = each((i) => param(i, `/:a/:b/c${i}/:d`));
  return [
    shape("exact", {
      route: (i) => route(i, { path: `/a/b/c/${i}`, path_kind: "exact" }),
      path: (i) => `/a/b/c/${i}`,
    }),
    shape("params behind one prefix", {
      route: (i) => param(i, `/:a/:b/c${i}/:d`),
      path: (i) => `/x/y/c${i}/z`,
    }),
    shape("28 segments, literals shared", {
      route: (i) =>
        param(
          i,
          spelled(i, (bit) => `:p${bit}`),
        ),
      path: (i) => spelled(i, () => "x"),
    }),
    shape("patterns that overlap", {
      route: (i) =>
        param(
          i,
          overlapping(i, (position) => `:p${position}`),
        ),
      path: (i) => overlapping(i, (position) => ((i + position) % 2 ? "a" : "b")),
    }),
    // No deeper: a pattern has at most 32 segments.
    shape("deep prefixes", {
      route: (i) => route(i, { path: `/${"p/".repeat(i % 31)}q${i}/*`, path_kind: "prefix" }),
      path: (i) => `/${"p/".repeat(i % 31)}q${i}/rest/of/it`,
    }),
    shape("wildcard hosts", {
      route: (i) =>
        route(i, {
          path: "/",
          path_kind: "exact",
          host: `*.h${i}.example.com`,
          host_kind: "wildcard",
        }),
      host: (i) => `a.b.h${i}.example.com`,
      path: () => "/",
    }),
    {
      name: "misses",
      routes: behindOnePrefix,
      requests: each((i) => ({ host: "pi", path: `/x/y/d${i}/z`, reaches: null })),
    },
  ];
}

/** One request for each route, that reaches it. */
function shape(
  name: string,
  of: { route: (i: number) => Route; host?: (i: number) => string; path: (i: number) => string },
): Shape {
  const routes = each(of.route);
  const requests = routes.map((reaches, i) => ({
    host: of.host?.(i) ?? "pi",
    path: of.path(i),
    reaches,
  }));
  return { name, routes, requests };
}

/** `*.test`, `*.a.test`, …: a request is looked up at each, and finds nothing. */
function nestedHosts(): Shape {
  const hosts = 12;
  const routes = each((i) =>
    route(i, {
      path: `${"/s".repeat(Math.floor(i / hosts) % 31)}/n${i}/*`,
      path_kind: "prefix",
      host: `*.${"a.".repeat(i % hosts)}test`,
      host_kind: "wildcard",
    }),
  );
  const path = `${"/s".repeat(30)}/x`;
  return {
    name: "hosts within hosts",
    routes,
    requests: [{ host: `${"a.".repeat(hosts + 1)}test`, path, reaches: null }],
  };
}

function each<T>(make: (index: number) => T): T[] {
  return Array.from({ length: routeCount }, (_, i) => make(i));
}

/** `/a/:p0/b/:p1/…`: fourteen literals that spell the index in binary, each before a parameter. */
function spelled(index: number, parameter: (bit: number) => string): string {
  return `/${Array.from({ length: 14 }, (_, bit) => `${(index >> bit) & 1 ? "a" : "b"}/${parameter(bit)}`).join("/")}`;
}

/**
 * Nine times one of `a/:x/b`, `b/a/:x`, `:x/b/a`: any two patterns differ somewhere, but a request
 * fits the beginnings of many. (A search that notices late goes down 2^9 ways.)
 */
function overlapping(index: number, parameter: (nth: number) => string): string {
  const marks = Array.from({ length: 9 }, (_, nth) => {
    const triple = ["a/:/b", "b/a/:", ":/b/a"][Math.floor(index / 3 ** nth) % 3] ?? "";
    return triple.replace(":", parameter(nth));
  });
  return `/${marks.join("/")}`;
}

function param(index: number, path: string): Route {
  return route(index, { path, path_kind: "param" });
}

function route(index: number, pattern: Partial<Route>): Route {
  return {
    id: `route-${index}`,
    app_id: "app",
    script_id: `script-${index}`,
    path: "/",
    path_kind: "exact",
    method: "GET",
    host: "",
    host_kind: "any",
    host_param_name: null,
    dispatch_mode: "sync",
    created_at: 0,
    created_by: null,
    ...pattern,
  };
}
