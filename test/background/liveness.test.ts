import { expect, test } from "bun:test";
import { createLiveness, type Sandboxes } from "../../src/background/liveness.ts";
import { PicError } from "../../src/domain/errors.ts";

function setup() {
  const state: { fail: unknown; sandboxes: Sandboxes } = {
    fail: null,
    sandboxes: { ready: 1, starting: 0 },
  };
  const probe = createLiveness({
    db: {
      get: async () => {
        if (state.fail !== null) throw state.fail;
        return null;
      },
    },
    sandboxes: () => state.sandboxes,
  });
  return { state, probe };
}

test("a server that answers from its database and has a sandbox is alive", async () => {
  const { probe } = setup();
  expect(await probe()).toBeNull();
});

test("a database that is gone, full or busy is no reason: a new process would find it the same", async () => {
  const { state, probe } = setup();
  state.fail = new PicError("unavailable", "the database cannot be reached");
  for (let time = 0; time < 5; time += 1) expect(await probe()).toBeNull();
});

test("a read that fails unexpectedly is a reason, with what it was", async () => {
  const { state, probe } = setup();
  state.fail = new TypeError("x is not a function");
  expect(await probe()).toBe("the database failed: TypeError: x is not a function");
});

test("a sandbox that is being replaced, again and again, is no reason", async () => {
  const { state, probe } = setup();
  state.sandboxes = { ready: 0, starting: 1 };
  for (let time = 0; time < 5; time += 1) expect(await probe()).toBeNull();
});

test("no sandbox and none on its way is a reason the second time in a row", async () => {
  const { state, probe } = setup();
  state.sandboxes = { ready: 0, starting: 0 };
  expect(await probe()).toBeNull();
  expect(await probe()).toBe("no sandbox is ready and none is being started");
  state.sandboxes = { ready: 1, starting: 0 };
  expect(await probe()).toBeNull();
  state.sandboxes = { ready: 0, starting: 0 };
  expect(await probe()).toBeNull();
});
