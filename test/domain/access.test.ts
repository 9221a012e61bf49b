import { describe, expect, test } from "bun:test";
import {
  type Action,
  type AppRole,
  authorise,
  can,
  PERMISSIONS,
  type Resource,
  refused,
  roleIn,
  SCOPES,
  type Scope,
  visibleApps,
} from "../../src/domain/access.ts";
import type { Actor, InstanceRole } from "../../src/domain/accounts.ts";
import { PicError } from "../../src/domain/errors.ts";

const actions = Object.keys(PERMISSIONS) as Action[];
const ofLevel = (level: string): Action[] =>
  actions.filter((action) => PERMISSIONS[action].level === level);

interface Given {
  role?: InstanceRole;
  memberships?: Record<string, AppRole>;
  /** Absent: a session. */
  scopes?: readonly Scope[];
  bound?: string | null;
}

function actor({ role = "member", memberships = {}, scopes, bound = null }: Given = {}): Actor {
  const key = scopes && { id: "k", prefix: "abcdefgh", scopes, app_id: bound, expires_at: null };
  return {
    account_id: "a",
    username: "ada",
    role,
    memberships: new Map(Object.entries(memberships)),
    session_hash: key === undefined ? "0".repeat(64) : null,
    key: key ?? null,
    address: "",
    request_id: "",
  };
}

function thrown(work: () => void): { code: string; message: string } {
  try {
    work();
  } catch (error) {
    if (error instanceof PicError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: "none", message: "" };
}

describe("the table", () => {
  test("asks for a role of its level, and for scopes that there are", () => {
    for (const action of actions) {
      const { level, role, scopes } = PERMISSIONS[action];
      const roles = {
        self: [null],
        app: ["viewer", "editor", "admin"],
        instance: ["admin", "owner"],
      };
      expect(roles[level] as unknown[]).toContain(role);
      if (scopes === null || scopes === "any") continue;
      expect(scopes.length).toBeGreaterThan(0);
      for (const any of scopes as readonly (readonly Scope[])[]) {
        expect(any.length).toBeGreaterThan(0);
        expect(any.filter((scope) => !SCOPES.includes(scope))).toEqual([]);
      }
    }
  });

  test("lets nobody change with a scope that only reads", () => {
    const reading: readonly Scope[] = ["script:read", "log:read"];
    for (const action of actions.filter((one) => !one.endsWith(".read"))) {
      const { scopes, level } = PERMISSIONS[action];
      // Of one's own account, a key may at most end itself: services/api-keys.ts judges whose.
      if (level === "self" && scopes === "any") continue;
      const verdict = can(actor({ role: "owner", scopes: reading }), action, { app_id: "x" });
      expect([action, verdict]).toEqual([action, "denied"]);
    }
  });
});

describe("a member", () => {
  const editor = actor({ memberships: { mine: "editor", own: "admin" } });

  test.each([
    ["script.read", "mine", "allowed"],
    ["script.write", "mine", "allowed"],
    ["app.delete", "mine", "denied"],
    ["app.delete", "own", "allowed"],
    ["member.write", "mine", "denied"],
    ["host.write", "own", "denied"],
    ["script.read", "theirs", "hidden"],
    ["script.write", "theirs", "hidden"],
    ["host.write", "theirs", "hidden"],
    ["audit.read", "theirs", "hidden"],
    ["script.read", "", "hidden"],
    ["script.read", "__proto__", "hidden"],
    ["script.read", "constructor", "hidden"],
  ] as const)("may %s in %s: %s", (action, app_id, verdict) => {
    expect(can(editor, action, { app_id })).toBe(verdict);
  });

  test("may only read with the role viewer, of which each higher one may all", () => {
    const roles = ["viewer", "editor", "admin"] as const;
    for (const action of ofLevel("app")) {
      const verdicts = roles.map((role) =>
        can(actor({ memberships: { mine: role } }), action, { app_id: "mine" }),
      );
      // Never allowed and then denied again.
      expect(verdicts.join(" ")).toMatch(/^(denied ?)*(allowed ?)+$/);
      if (!action.endsWith(".read") && action !== "member.leave")
        expect(verdicts[0]).toBe("denied");
    }
  });

  test("does nothing to the instance and to the accounts of others", () => {
    for (const action of ofLevel("instance")) {
      expect([action, can(editor, action)]).toEqual([action, "denied"]);
      expect([action, can(editor, action, { app_id: "own" })]).toEqual([action, "denied"]);
    }
  });

  test("of no app sees empty lists and makes nothing", () => {
    const nobody = actor();
    expect(visibleApps(nobody)).toEqual({ app_ids: [] });
    expect(can(nobody, "script.read")).toBe("allowed");
    expect(can(nobody, "script.write")).toBe("denied");
    expect(can(editor, "script.write")).toBe("allowed");
    expect(can(actor({ memberships: { mine: "viewer" } }), "script.write")).toBe("denied");
  });
});

describe("an admin", () => {
  const admin = actor({ role: "admin", memberships: { mine: "viewer" } });

  test("is an admin of every app, whatever an old membership says", () => {
    expect(roleIn(admin, "mine")).toBe("admin");
    expect(roleIn(admin, "theirs")).toBe("admin");
    expect(visibleApps(admin)).toBe("all");
    for (const action of ofLevel("app"))
      expect(can(admin, action, { app_id: "mine" })).toBe("allowed");
  });

  test.each([
    ["account.write", undefined, "allowed"],
    ["account.write", "member", "allowed"],
    ["account.write", "admin", "allowed"],
    ["account.write", "owner", "denied"],
    ["nomination.write", "member", "allowed"],
    ["nomination.approve", "member", "denied"],
    ["audit.read", undefined, "denied"],
  ] as const)("may %s of an account that is %s: %s", (action, role, verdict) => {
    const resource: Resource = role === undefined ? {} : { account: { id: "b", role } };
    expect(can(admin, action, resource)).toBe(verdict);
  });
});

describe("an owner", () => {
  test("may everything", () => {
    const owner = actor({ role: "owner" });
    for (const action of actions) {
      for (const resource of [
        {},
        { app_id: "any" },
        { account: { id: "b", role: "owner" as const } },
      ]) {
        expect([action, can(owner, action, resource)]).toEqual([action, "allowed"]);
      }
    }
  });
});

describe("an API key", () => {
  test("without a scope does at most what any key may", () => {
    const key = actor({ role: "owner", scopes: [] });
    for (const action of actions) {
      const { scopes } = PERMISSIONS[action];
      const verdict = scopes === "any" ? "allowed" : "denied";
      expect([action, can(key, action, { app_id: "any" })]).toEqual([action, verdict]);
    }
  });

  test("never gives more than its account", () => {
    for (const role of ["member", "admin", "owner"] as const) {
      for (const membership of [null, "viewer", "editor", "admin"] as const) {
        const memberships = membership === null ? {} : { mine: membership };
        for (const action of actions) {
          for (const resource of [{}, { app_id: "mine" }, { app_id: "theirs" }]) {
            const verdict = can(actor({ role, memberships, scopes: SCOPES }), action, resource);
            if (verdict !== "allowed") continue;
            expect(can(actor({ role, memberships }), action, resource)).toBe("allowed");
          }
        }
      }
    }
  });

  test("needs one scope of each list", () => {
    const may = (scopes: readonly Scope[]) =>
      can(actor({ role: "owner", scopes }), "deployment.write", { app_id: "mine" });
    expect(may(["script:write"])).toBe("denied");
    expect(may(["route:write"])).toBe("denied");
    expect(may(["route:write", "script:write"])).toBe("allowed");
    const reads = (scope: Scope) =>
      can(actor({ role: "owner", scopes: [scope] }), "script.read", { app_id: "mine" });
    expect(SCOPES.filter((scope) => reads(scope) === "allowed")).toEqual([
      "script:read",
      "script:write",
    ]);
  });

  test("that is bound to an app sees nothing beside it, whoever its account is", () => {
    for (const role of ["member", "admin", "owner"] as const) {
      const key = actor({
        role,
        memberships: { mine: "admin", own: "admin" },
        scopes: SCOPES,
        bound: "mine",
      });
      expect(visibleApps(key)).toEqual({ app_ids: ["mine"] });
      expect([roleIn(key, "mine"), roleIn(key, "own")]).toEqual(["admin", null]);
      for (const action of actions) expect(can(key, action, { app_id: "own" })).toBe("hidden");
      for (const action of ofLevel("instance")) {
        // Also when one was stored with a scope that it cannot be given.
        expect(can(key, action)).toBe("denied");
        expect(can(key, action, { app_id: "mine" })).toBe("denied");
      }
    }
  });

  test("that is bound to an app whose member its account no longer is sees nothing", () => {
    const key = actor({ memberships: { other: "admin" }, scopes: SCOPES, bound: "mine" });
    expect(visibleApps(key)).toEqual({ app_ids: [] });
    expect(can(key, "script.read", { app_id: "mine" })).toBe("hidden");
    expect(can(key, "script.write")).toBe("denied");
  });

  test("opens no session's own calls", () => {
    const key = actor({ role: "owner", scopes: SCOPES });
    for (const action of ["password.write", "session.read", "session.end"] as const) {
      expect(can(key, action)).toBe("denied");
      expect(can(actor(), action)).toBe("allowed");
    }
  });
});

describe("a refusal", () => {
  test.each([
    [actor(), "script.read", { app_id: "x" }, "not_found", "There is no such app"],
    [
      actor({ memberships: { x: "viewer" } }),
      "script.write",
      { app_id: "x" },
      "forbidden",
      "role editor in the app",
    ],
    [actor(), "account.read", {}, "forbidden", "role admin of your account"],
    [actor({ role: "admin" }), "audit.read", {}, "forbidden", "role owner of your account"],
    [
      actor({ role: "owner", scopes: [] }),
      "script.read",
      {},
      "forbidden",
      "lacks a scope: script:read or script:write",
    ],
    [
      actor({ role: "owner", scopes: [] }),
      "deployment.write",
      {},
      "forbidden",
      "script:write, and route:write",
    ],
    [actor({ role: "owner", scopes: SCOPES }), "session.read", {}, "forbidden", "needs a session"],
    [
      actor({ role: "owner", scopes: SCOPES, bound: "x" }),
      "audit.read",
      {},
      "forbidden",
      "bound to an app",
    ],
    [
      actor({ role: "admin" }),
      "account.write",
      { account: { id: "b", role: "owner" } },
      "forbidden",
      "Only an owner",
    ],
    [
      actor({ role: "member" }),
      "account.write",
      { account: { id: "b", role: "owner" } },
      "forbidden",
      "role admin of your account",
    ],
  ] as [Actor, Action, Resource, string, string][])(
    "says what is missing (%#)",
    (who, action, resource, code, text) => {
      const error = thrown(() => authorise(who, action, resource, "app"));
      expect(error.code).toBe(code);
      expect(error.message).toContain(text);
    },
  );

  test("of what is allowed is never asked for: nothing is thrown", () => {
    const owner = actor({ role: "owner" });
    expect(thrown(() => authorise(owner, "app.delete", { app_id: "x" }, "app")).code).toBe("none");
    expect(refused(owner, "app.delete").code).toBe("forbidden");
  });
});
