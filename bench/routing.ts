/** The cost of one match in tables of 10,000 routes, in the shapes that are worst for it. */
import type { Route } from "../src/domain/routes.ts";
import { compileTable } from "../src/routing/table.ts";
import { fixed, type Row } from "./table.ts";

interface Shape {
  name: string;
  routes: Route[];
  requests: { host: string; path: string }[];
}

const routeCount = 10_000;
const matchCount = 400_000;
/** One sample covers so many matches: the clock's own resolution is 0.1 µs or worse. */
const sampleSize = 20;

export function routingRows(): Row[] {
  const measured = shapes().map((shape) => ({ name: shape.name, ...measure(shape) }));
  const worst = Math.max(...measured.map((shape) => shape.p99));
  const detail = measured
    .map((shape) => `${shape.name} ${fixed(shape.p50)}/${fixed(shape.p99)}`)
    .join(", ");
  return [
    {
      what: `one match, ${routeCount} routes of the worst shape, p99`,
      target: "<= 2 µs",
      measured: `${fixed(worst)} µs`,
      reached: worst <= 2,
      detail: `p50/p99 in µs: ${detail}`,
    },
  ];
}

function measure(shape: Shape): { p50: number; p99: number } {
  const table = compileTable(shape.routes);
  const samples: number[] = [];
  const run = (keep: boolean): void => {
    for (let index = 0; index < matchCount; index += sampleSize) {
      const startedAt = Bun.nanoseconds();
      for (let step = 0; step < sampleSize; step += 1) {
        const request = shape.requests[(index + step * 7919) % shape.requests.length];
        if (request !== undefined) table.match("GET", request.host, request.path);
      }
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
  const each = <T>(make: (index: number) => T): T[] =>
    Array.from({ length: routeCount }, (_, i) => make(i));
  return [
    {
      name: "exact",
      routes: each((i) => route(i, { path: `/a/b/c/${i}`, path_kind: "exact" })),
      requests: each((i) => ({ host: "pi", path: `/a/b/c/${i}` })),
    },
    {
      name: "params behind one prefix",
      routes: each((i) => route(i, { path: `/:a/:b/c${i}/:d`, path_kind: "param" })),
      requests: each((i) => ({ host: "pi", path: `/x/y/c${i}/z` })),
    },
    {
      name: "28 segments, literals shared",
      routes: each((i) => route(i, { path: spelled(i, (bit) => `:p${bit}`), path_kind: "param" })),
      requests: each((i) => ({ host: "pi", path: spelled(i, () => "x") })),
    },
    {
      name: "deep prefixes",
      routes: each((i) =>
        route(i, { path: `/${"p/".repeat(i % 60)}q${i}/*`, path_kind: "prefix" }),
      ),
      requests: each((i) => ({ host: "pi", path: `/${"p/".repeat(i % 60)}q${i}/rest/of/it` })),
    },
    {
      name: "wildcard hosts",
      routes: each((i) =>
        route(i, {
          path: "/",
          path_kind: "exact",
          host: `*.h${i}.example.com`,
          host_kind: "wildcard",
        }),
      ),
      requests: each((i) => ({ host: `a.b.h${i}.example.com`, path: "/" })),
    },
    {
      name: "misses",
      routes: each((i) => route(i, { path: `/:a/:b/c${i}/:d`, path_kind: "param" })),
      requests: each((i) => ({ host: "pi", path: `/x/y/d${i}/z` })),
    },
  ];
}

/** `/a/:p0/b/:p1/…`: fourteen literals that spell the index in binary, each before a parameter. */
function spelled(index: number, parameter: (bit: number) => string): string {
  return `/${Array.from({ length: 14 }, (_, bit) => `${(index >> bit) & 1 ? "a" : "b"}/${parameter(bit)}`).join("/")}`;
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
