import { expect, test } from "bun:test";
import { inGuest } from "./guest-setup.ts";

test("timers fire in the order of their times, with their arguments", async () => {
  const result = await inGuest(`const seen = [];
    setTimeout((a, b) => seen.push(a + b), 30, "c", "d"); setTimeout((a) => seen.push(a), 1, "a");
    await new Promise((resolve) => setTimeout(resolve, 60)); return seen`);
  expect(result).toEqual(["a", "cd"]);
});

test("a cleared timer does not fire, and clearing anything is harmless", async () => {
  const result = await inGuest(`let fired = false; const id = setTimeout(() => { fired = true }, 1);
    clearTimeout(id); clearTimeout(id); clearTimeout(); clearTimeout("x"); clearTimeout(999);
    await new Promise((resolve) => setTimeout(resolve, 10)); return [fired, typeof id]`);
  expect(result).toEqual([false, "number"]);
});

test("microtasks come before timers and before what follows an await", async () => {
  const result = await inGuest(`const seen = []; setTimeout(() => seen.push("timer"), 0);
    queueMicrotask(() => seen.push("micro")); seen.push("now"); await null; seen.push("await");
    await new Promise((resolve) => setTimeout(resolve, 5)); return seen`);
  expect(result).toEqual(["now", "micro", "await", "timer"]);
});

test("strange delays are none, and callbacks must be functions", async () => {
  const result =
    await inGuest(`for (const ms of [-1, NaN, "x", undefined, null]) await new Promise((resolve) => setTimeout(resolve, ms));
    const of = (f) => { try { f(); return "done" } catch (e) { return e.name } };
    return [of(() => setTimeout("code")), of(() => queueMicrotask(5)), of(() => { for (let i = 0; i < 2000; i++) setTimeout(() => {}, 1e6) })]`);
  expect(result).toEqual(["TypeError", "TypeError", "RangeError"]);
});
