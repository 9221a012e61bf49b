/** `pic logs` over a real API whose records are made by hand. */
import { expect, test } from "bun:test";
import type { ExecutionRecord } from "../../src/domain/executions.ts";
import { serve } from "../http/admin/server.ts";
import { record } from "../services/fakes.ts";
import { newUser } from "./pic-runs.ts";

const noon = Date.parse("2030-01-01T12:00:00Z");

async function withScript() {
  const t = await serve();
  const user = newUser({
    env: { PICLOUD_URL: t.publicUrl, PICLOUD_TOKEN: t.token },
    now: () => noon,
  });
  const { id } = await t.client.scripts.create({ name: "hello", source: "" });
  /** Newest first, as the API has them. */
  const add = (part: Partial<ExecutionRecord>): ExecutionRecord => {
    const made = record(id, part);
    t.records.records.unshift(made);
    return made;
  };
  return {
    ...t,
    user,
    add,
    async [Symbol.asyncDispose]() {
      user[Symbol.dispose]();
      await t[Symbol.asyncDispose]();
    },
  };
}

test("what happened is shown oldest first, with logs and the error's place", async () => {
  await using t = await withScript();
  const first = t.add({ started_at: noon - 60_000 });
  const second = t.add({
    started_at: noon - 30_000,
    status: "error",
    status_code: 502,
    logs: [{ level: "info", message: "step", fields: { n: 1 }, at: noon }],
    logs_dropped: 2,
    error: {
      name: "TypeError",
      message: "x is undefined",
      stack: "TypeError: x is undefined\n    at default (hello:3:14)",
    },
  });
  const { code, out } = await t.user.pic(["logs", "hello", "-o", "table"]);
  expect(code).toBe(0);
  expect(out).toBe(
    [
      `2030-01-01T11:59:00.000Z  success  200  1.5 ms  v1  route  ${first.id}`,
      `2030-01-01T11:59:30.000Z  error  502  1.5 ms  v1  route  ${second.id}`,
      '   info  step {"n":1}',
      "   … and 2 more",
      "   TypeError: x is undefined",
      "     at default (hello:3:14)",
      "",
    ].join("\n"),
  );
  const lines = (await t.user.pic(["logs", "hello", "-o", "json"])).out.trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line).id)).toEqual([first.id, second.id]);
});

test("status, time and number narrow it down", async () => {
  await using t = await withScript();
  t.add({ started_at: noon - 3_600_000, status: "error" });
  t.add({ started_at: noon - 120_000 });
  t.add({ started_at: noon - 60_000, status: "timeout" });
  const shown = async (...args: string[]) =>
    (await t.user.pic(["logs", "hello", "-o", "tsv", ...args])).out
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => line.split("\t")[1]);
  expect(await shown()).toEqual(["error", "success", "timeout"]);
  expect(await shown("--since", "10m")).toEqual(["success", "timeout"]);
  expect(await shown("--since", "2030-01-01T11:58:30Z")).toEqual(["timeout"]);
  expect(await shown("--status", "error")).toEqual(["error"]);
  expect(await shown("--status", "error", "--since", "10m")).toEqual([]);
  expect(await shown("--limit", "1")).toEqual(["timeout"]);
  for (const bad of [
    ["--since", "soon"],
    ["--status", "bad"],
    ["--limit", "0"],
    ["--limit", "x"],
  ]) {
    expect((await t.user.pic(["logs", "hello", ...bad])).code).toBe(2);
  }
  expect((await t.user.pic(["logs", "absent"])).code).toBe(5);
});

test("following shows each record once, survives a server that is away, and ends with Ctrl-C", async () => {
  await using t = await withScript();
  const before = t.add({ started_at: noon - 5_000 });
  let said = "";
  let wake: () => void = () => {};
  const hears = async (text: string) => {
    while (!said.includes(text)) {
      const next = Promise.withResolvers<void>();
      wake = next.resolve;
      await next.promise;
    }
  };
  let isAway = false;
  const run = t.user.pic(["logs", "hello", "--follow", "-o", "tsv"], {
    onWrite: (text) => {
      said += text;
      wake();
    },
    fetch: (request, init) => {
      if (isAway) return Promise.reject(Object.assign(new Error("x"), { code: "ECONNREFUSED" }));
      return fetch(request, init);
    },
  });
  await hears(before.id);
  const ids = [t.add({ started_at: noon + 1 }).id, t.add({ started_at: noon + 2 }).id];
  await hears(ids[1] as string);
  isAway = true;
  await hears("still trying");
  isAway = false;
  // It took long: it began before what was shown already.
  const late = t.add({ started_at: noon - 4_000 });
  await hears(late.id);
  process.emit("SIGINT");
  const { code, out } = await run;
  expect(code).toBe(0);
  const shown = out.trimEnd().split("\n");
  expect(shown.map((line) => line.split("\t").at(-1))).toEqual([
    before.id,
    ...ids,
    late.id,
  ] as string[]);
}, 30_000);

test("what a script logs does nothing to a terminal", async () => {
  await using t = await withScript();
  const hostile = "\u001b[2J\u001b]0;x\u0007\r\nerror: fake\u202e";
  t.add({
    started_at: noon,
    logs: [{ level: "warn", message: hostile, fields: { hostile }, at: noon }],
    error: { name: hostile, message: hostile, stack: hostile },
  });
  for (const format of ["table", "tsv", "json"]) {
    const args = ["logs", "hello", "-o", format];
    const { out } = await t.user.pic(args, { isTerminal: true });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
    expect([format, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/.test(out)]).toEqual([
      format,
      false,
    ]);
    expect(out.split("\n").some((line) => line.startsWith("error: fake"))).toBe(false);
  }
});
