import { describe, expect, test } from "bun:test";
import {
  loginFailuresPerAccountMax,
  loginFailuresPerAddressMax,
  loginFailureWindowMs,
  loginTrackedMax,
} from "../../src/domain/limits.ts";
import { type Attempt, LoginAttempts, network } from "../../src/services/attempts.ts";
import { FakeClock } from "./fakes.ts";

function setup() {
  const clock = new FakeClock();
  const attempts = new LoginAttempts(clock);
  const fail = (attempt: Attempt, times: number): void => {
    for (let round = 0; round < times; round += 1) attempts.begin(attempt);
  };
  const refused = (attempt: Attempt): boolean => {
    try {
      attempts.check(attempt);
      return false;
    } catch {
      return true;
    }
  };
  return { clock, attempts, fail, refused };
}

describe("failed logins", () => {
  test("of one account are bounded, from wherever they come", () => {
    const t = setup();
    for (let index = 0; index < loginFailuresPerAccountMax; index += 1) {
      t.fail({ username: "ada", address: `10.0.${index}.1` }, 1);
    }
    expect(t.refused({ username: "ada", address: "10.1.1.1" })).toBe(true);
    expect(t.refused({ username: "bob", address: "10.1.1.1" })).toBe(false);
  });

  test("from one address are bounded, for whatever accounts", () => {
    const t = setup();
    for (let index = 0; index < loginFailuresPerAddressMax; index += 1) {
      t.fail({ username: `user${index}`, address: "2001:db8::1" }, 1);
    }
    expect(t.refused({ username: "ada", address: "2001:db8::2" })).toBe(true);
    expect(t.refused({ username: "ada", address: "2001:db8:1::1" })).toBe(false);
  });

  test("of strangers do not lock out an address that has logged in", () => {
    const t = setup();
    const home = { username: "ada", address: "192.168.0.2" };
    t.attempts.begin(home)();
    t.fail({ username: "ada", address: "10.0.0.1" }, loginFailuresPerAccountMax);
    expect(t.refused(home)).toBe(false);
    t.fail(home, loginFailuresPerAccountMax);
    expect(t.refused(home)).toBe(true);
  });

  test("are forgiven when the window ends, whatever the wall clock does", () => {
    const t = setup();
    const attempt = { username: "ada", address: "10.0.0.1" };
    t.fail(attempt, loginFailuresPerAccountMax);
    t.clock.wall += 10 * loginFailureWindowMs;
    expect(t.refused(attempt)).toBe(true);
    t.clock.pass(loginFailureWindowMs);
    expect(t.refused(attempt)).toBe(false);
  });

  test("count alone: successes use nothing up", () => {
    const t = setup();
    const attempt = { username: "ada", address: "10.0.0.1" };
    for (let round = 0; round < 100; round += 1) t.attempts.begin(attempt)();
    expect(t.refused(attempt)).toBe(false);
  });

  test("with endless names and addresses take bounded memory", () => {
    const t = setup();
    for (let index = 0; index < 3 * loginTrackedMax; index += 1) {
      t.fail({ username: `user${index}`, address: `10.${index >> 8}.${index & 255}.1` }, 1);
    }
    expect(t.refused({ username: "ada", address: "10.0.0.1" })).toBe(false);
  });

  test("are not forgotten when an address that may try no more goes on with other names", () => {
    const t = setup();
    for (let index = 0; index < loginFailuresPerAccountMax; index += 1) {
      t.fail({ username: "ada", address: `10.0.${index}.1` }, 1);
    }
    for (let index = 0; index < loginFailuresPerAddressMax; index += 1) {
      t.fail({ username: `bob${index}`, address: "10.9.0.1" }, 1);
    }
    for (let index = 0; index <= loginTrackedMax; index += 1) {
      expect(t.refused({ username: `user${index}`, address: "10.9.0.1" })).toBe(true);
    }
    expect(t.refused({ username: "ada", address: "10.1.1.1" })).toBe(true);
  });
});

test.each([
  ["192.168.0.2", "192.168.0.2"],
  ["::ffff:192.168.0.2", "192.168.0.2"],
  ["2001:DB8:0:1::1", "2001:db8:0:1::/64"],
  ["2001:0db8:0000:0001:aaaa::9", "2001:db8:0:1::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["unknown", "unknown"],
  ["", ""],
])("the address %p belongs to %p", (address, expected) => {
  expect(network(address)).toBe(expected);
});
