import { expect, test } from "bun:test";
import { type ErrorCode, invalidField, PicError } from "../../src/domain/errors.ts";
import { problemDocument, problemResponse, STATUS } from "../../src/http/errors.ts";

test("every code has a status and a title", () => {
  for (const code of Object.keys(STATUS) as ErrorCode[]) {
    const problem = problemDocument(new PicError(code, "Said"), "r");
    expect(problem.status).toBe(STATUS[code]);
    expect(problem.title.length).toBeGreaterThan(3);
    expect(problem.code).toBe(code);
  }
});

test("fields and further members are in the document, and cannot replace its own", async () => {
  const error = new PicError("route_conflict", "Taken", {
    extra: { conflicting_route: { id: "1" }, status: 200, code: "x", instance: "y" },
  });
  const response = problemResponse(error, "r");
  expect(response.status).toBe(409);
  expect(await response.json()).toEqual({
    conflicting_route: { id: "1" },
    type: "about:blank",
    title: "Conflict",
    status: 409,
    detail: "Taken",
    code: "route_conflict",
    instance: "r",
  });
  expect(problemDocument(invalidField("a.b", "bad"), "r").errors).toEqual([
    { path: "a.b", message: "bad" },
  ]);
});

test("the unexpected says nothing of itself", () => {
  for (const error of [new Error("secret"), "secret", null, new PicError("internal", "secret")]) {
    expect(JSON.stringify(problemDocument(error, "r"))).not.toContain("secret");
    expect(problemResponse(error, "r").status).toBe(500);
  }
});
