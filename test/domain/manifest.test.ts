import { describe, expect, test } from "bun:test";
import { RETRY_DEFAULT } from "../../src/domain/events.ts";
import {
  type PresentApp,
  planDeployment,
  routeKey,
  shownChange,
  triggerName,
  type WantedRoute,
  type WantedScript,
  type WantedTrigger,
} from "../../src/domain/manifest.ts";
import { checkRoute, type Route, type RouteInput } from "../../src/domain/routes.ts";
import type { Script } from "../../src/domain/scripts.ts";
import type { DataTrigger, Trigger } from "../../src/domain/triggers.ts";

function wantedRoute(path: string, more: Partial<RouteInput> = {}): WantedRoute {
  return checkRoute({ path, ...more }).route;
}

function wanted(name: string, more: Partial<WantedScript> = {}): WantedScript {
  return {
    index: 0,
    file: null,
    name,
    kind: "endpoint",
    source: "",
    description: "",
    limits: {},
    public_execute: false,
    routes: [],
    triggers: [],
    ...more,
  };
}

function script(name: string, more: Partial<Script> = {}): Script {
  const { index: _, file: __, source: ___, routes: ____, triggers: _____, ...rest } = wanted(name);
  const times = { created_at: 1, updated_at: 1 };
  return { ...rest, ...times, id: `id-${name}`, app_id: "app", active_version: 3, ...more };
}

function route(of: string, path: string, more: Partial<RouteInput> = {}): Route {
  return {
    ...wantedRoute(path, more),
    id: `${of} ${path}`,
    app_id: "app",
    script_id: `id-${of}`,
    created_at: 1,
    created_by: null,
  };
}

function wantedTrigger(more: Partial<DataTrigger> = {}): WantedTrigger & { kind: "kv" | "docs" } {
  const retry = { ...RETRY_DEFAULT };
  return { kind: "kv", is_enabled: true, collection: "*", operations: ["insert"], retry, ...more };
}

function trigger(of: string, id: string, more: Partial<DataTrigger> = {}): Trigger {
  const whose = { app_id: "app", script_id: `id-${of}`, registered_by: null };
  return { ...wantedTrigger(more), ...whose, id, created_at: 1, updated_at: 1 };
}

const nothing: PresentApp = { scripts: [], routes: [], triggers: [] };

function plan(
  scripts: readonly WantedScript[],
  present: Partial<PresentApp>,
  prune = false,
): string[] {
  return planDeployment(scripts, { ...nothing, ...present }, { prune })
    .map(shownChange)
    .map(({ action, kind, script: of, name, detail }) =>
      [action, kind, of, ...(kind === "script" ? [] : [name]), detail].join(" ").trim(),
    );
}

describe("a plan", () => {
  test("has everything that is as it should be as unchanged", () => {
    const wish = wanted("a", {
      limits: { cpu_ms: 5, log_kb: 1 },
      routes: [wantedRoute("/a", { host: "EXAMPLE.com" })],
      triggers: [wantedTrigger()],
    });
    const present = {
      scripts: [{ script: script("a", { limits: { log_kb: 1, cpu_ms: 5 } }), has_source: true }],
      routes: [route("a", "/a", { host: "EXAMPLE.com" })],
      triggers: [trigger("a", "t1")],
    };
    const same = [
      "unchanged script a",
      "unchanged route a ANY EXAMPLE.com/a",
      "unchanged trigger a kv *",
    ];
    expect(plan([wish], present)).toEqual(same);
    expect(plan([wish], present, true)).toEqual(same);
  });

  test("makes a version only for another source or kind", () => {
    const versions = (wish: WantedScript, has_source: boolean) =>
      planDeployment(
        [wish],
        { ...nothing, scripts: [{ script: script("a"), has_source }] },
        { prune: false },
      ).map((change) => change.kind === "script" && change.makes_version);
    expect(versions(wanted("a", { description: "source kind" }), true)).toEqual([false]);
    expect(versions(wanted("a"), false)).toEqual([true]);
    expect(versions(wanted("a", { kind: "module" }), true)).toEqual([true]);
  });

  test("finds a route by the requests that it gets, however it is written", () => {
    const present = {
      scripts: [{ script: script("a"), has_source: true }],
      routes: [route("a", "/u/:id/x"), route("a", "/b%62", { host: "A.example.com." })],
    };
    const routes = [wantedRoute("/u/:key/x"), wantedRoute("/bb", { host: "a.example.com" })];
    expect(plan([wanted("a", { routes })], present, true)).toEqual([
      "unchanged script a",
      "change route a ANY /u/:key/x path",
      "change route a ANY a.example.com/bb path, host",
    ]);
  });

  test.each([
    ["GET", { method: "GET" as const }],
    ["another host", { host: "a.b" }],
    ["a subtree", { path_kind: "prefix" as const, path: "/a/*" }],
    ["a parameter", { path: "/:a" }],
  ])("takes %s for another route", (_name, more) => {
    const key = routeKey(wantedRoute("/a", more));
    expect(key).not.toBe(routeKey(wantedRoute("/a")));
  });

  test("moves routes between scripts in a circle, and deletes none of them", () => {
    const present = {
      scripts: ["a", "b"].map((name) => ({ script: script(name), has_source: true })),
      routes: [route("a", "/1"), route("b", "/2"), route("a", "/3")],
    };
    const scripts = [
      wanted("a", { routes: [wantedRoute("/2")] }),
      wanted("b", { routes: [wantedRoute("/1")] }),
    ];
    expect(plan(scripts, present, true)).toEqual([
      "unchanged script a",
      "change route a ANY /2 from the script b",
      "delete route a ANY /3",
      "unchanged script b",
      "change route b ANY /1 from the script a",
    ]);
  });

  test("takes the route of a script that it does not name, without prune, too", () => {
    const present = {
      scripts: [{ script: script("a"), has_source: true }],
      routes: [route("other", "/1"), route("other", "/2")],
    };
    expect(plan([wanted("a", { routes: [wantedRoute("/1")] })], present)).toEqual([
      "unchanged script a",
      "change route a ANY /1 from the script id-other",
    ]);
  });

  test("tells triggers for the same apart: those that are as wanted stay, the others change in order", () => {
    const present = {
      scripts: [{ script: script("a"), has_source: true }],
      triggers: [
        trigger("a", "t1", { operations: ["delete"] }),
        trigger("a", "t2", { operations: ["insert"] }),
        trigger("a", "t3", { operations: ["update"] }),
      ],
    };
    const triggers = [
      wantedTrigger({ operations: ["insert"] }),
      wantedTrigger({ operations: ["insert", "delete"] }),
    ];
    const planned = planDeployment(
      [wanted("a", { triggers })],
      { ...nothing, ...present },
      { prune: true },
    );
    const ids = planned.flatMap((change) =>
      change.kind === "trigger" && change.action !== "create"
        ? [`${change.action} ${change.present.id}`]
        : [],
    );
    expect(ids).toEqual(["unchanged t2", "change t1", "delete t3"]);
  });

  test("does not take the trigger of another script", () => {
    const present = {
      scripts: ["a", "b"].map((name) => ({ script: script(name), has_source: true })),
      triggers: [trigger("b", "t1")],
    };
    const scripts = [wanted("a", { triggers: [wantedTrigger()] }), wanted("b")];
    expect(plan(scripts, present, true)).toEqual([
      "unchanged script a",
      "create trigger a kv *",
      "unchanged script b",
      "delete trigger b kv *",
    ]);
  });

  test("deletes a stored route that today's rules refuse, and never finds it", () => {
    const odd: Route = { ...route("a", "/x"), path: "/{x}" };
    expect(routeKey(odd)).toBeNull();
    const present = { scripts: [{ script: script("a"), has_source: true }], routes: [odd] };
    expect(plan([wanted("a")], present)).toEqual(["unchanged script a"]);
    expect(plan([wanted("a")], present, true)).toEqual([
      "unchanged script a",
      "delete route a ANY /{x}",
    ]);
  });

  test("names triggers by what they wait for", () => {
    expect(triggerName({ kind: "dead_letter", is_enabled: true })).toBe("dead_letter");
    expect(triggerName(wantedTrigger({ kind: "docs", collection: "a*" }))).toBe("docs a*");
  });
});
