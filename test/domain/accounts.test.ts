import { describe, expect, test } from "bun:test";
import { INSTANCE_ROLES } from "../../src/domain/access.ts";
import {
  type Account,
  type AccountChange,
  checkAccountChange,
  checkGrantedRole,
  checkPassword,
  checkUsername,
  foldUsername,
  type InstanceRole,
  isAccountId,
  isHigherRole,
} from "../../src/domain/accounts.ts";
import { PicError } from "../../src/domain/errors.ts";

function codeOf(judge: () => void): string {
  try {
    judge();
    return "none";
  } catch (error) {
    if (error instanceof PicError) return error.code;
    throw error;
  }
}

function account(id: string, role: InstanceRole, is_active = true): Account {
  return {
    id,
    username: id,
    password_hash: "none",
    role,
    is_active,
    created_at: 0,
    nomination: null,
  };
}

describe("a username", () => {
  test.each(["a", "7", "ada", "a.b-c_d", "x".repeat(64), "01890a5d", "a-b-c-d-e"])(
    "may be %p",
    (username) => {
      expect(codeOf(() => checkUsername(username))).toBe("none");
    },
  );

  test.each([
    "",
    "Ada",
    ".a",
    "a.",
    "-",
    "a b",
    "a\0",
    "a\n",
    "\ud800",
    "\u0430da",
    "\u212a",
    "a@b",
    "a/b",
    "x".repeat(65),
    "01890a5d-ac96-774b-bcce-b302099a8057",
    "00000000-0000-0000-0000-000000000000",
  ])("may not be %p", (username) => {
    expect(codeOf(() => checkUsername(username))).toBe("invalid");
  });

  test("is folded in ASCII alone, so that no look-alike becomes a name", () => {
    expect(foldUsername("Ada.B")).toBe("ada.b");
    for (const text of ["\u212a", "\u0130", "\u0391", "\uff21", "\u017f"]) {
      expect(foldUsername(text)).toBe(text);
    }
  });

  test("is told from an id", () => {
    expect(isAccountId("01890a5d-ac96-774b-bcce-b302099a8057")).toBe(true);
    expect(isAccountId("01890A5D-ac96-774b-bcce-b302099a8057")).toBe(false);
    expect(isAccountId("01890a5d-ac96-774b-bcce-b302099a8057\n")).toBe(false);
    expect(isAccountId("ada")).toBe(false);
  });
});

test("a password is judged by its length, and the error names the field", () => {
  expect(codeOf(() => checkPassword("x".repeat(10)))).toBe("none");
  expect(codeOf(() => checkPassword("x".repeat(256)))).toBe("none");
  expect(() => checkPassword("x".repeat(9), "new_password")).toThrow("new_password: ");
  expect(codeOf(() => checkPassword("x".repeat(257)))).toBe("invalid");
});

test("roles have an order", () => {
  for (const [index, role] of INSTANCE_ROLES.entries()) {
    for (const [other, than] of INSTANCE_ROLES.entries()) {
      expect(isHigherRole(role, than)).toBe(index > other);
    }
  }
});

test("only an owner raises a role", () => {
  for (const actor of INSTANCE_ROLES) {
    for (const role of INSTANCE_ROLES) {
      for (const present of INSTANCE_ROLES) {
        const isFine = actor === "owner" || !isHigherRole(role, present);
        const code = codeOf(() => checkGrantedRole({ role: actor }, role, present));
        expect([actor, role, present, code]).toEqual([
          actor,
          role,
          present,
          isFine ? "none" : "forbidden",
        ]);
      }
    }
  }
});

describe("of oneself", () => {
  const change = (role: InstanceRole, wanted: AccountChange) =>
    codeOf(() => checkAccountChange({ account_id: "a", role }, account("a", role), wanted));

  test("nobody changes the role, but an owner may step down", () => {
    expect(change("owner", { role: "admin" })).toBe("none");
    expect(change("owner", { role: "member" })).toBe("none");
    for (const role of ["admin", "member"] as const) {
      for (const wanted of INSTANCE_ROLES) {
        expect(change(role, { role: wanted })).toBe(wanted === role ? "none" : "forbidden");
      }
    }
  });

  test("nobody changes the activity, and what stays as it is may be said", () => {
    for (const role of INSTANCE_ROLES) {
      expect(change(role, { is_active: false })).toBe("forbidden");
      expect(change(role, { is_active: true, role })).toBe("none");
      expect(change(role, {})).toBe("none");
    }
  });
});
