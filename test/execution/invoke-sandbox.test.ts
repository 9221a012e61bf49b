/** The whole execution half with the real database and a real child: what fakes cannot show. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { PicError } from "../../src/domain/errors.ts";
import { LIMIT_CEILINGS } from "../../src/domain/limits.ts";
import { Gate } from "../../src/execution/gate.ts";
import { createInvoker } from "../../src/execution/invoke.ts";
import { createErrorMapper } from "../../src/execution/positions.ts";
import { ExecutionRecords } from "../../src/execution/records.ts";
import { openScriptCatalog, scriptsChannel } from "../../src/execution/scripts.ts";
import { createSandboxPool } from "../../src/sandbox/pool.ts";
import { insertVersion, updateScript } from "../../src/storage/scripts.ts";
import { sql } from "../../src/storage/sql.ts";
import { composeForTest } from "../bindings/composed.ts";
import { deferred, delivery, input, request } from "./fakes.ts";
import { openFolder, scriptOf } from "./folder.ts";

async function setup() {
  const { db, logs, ...folder } = await openFolder();
  const log = silentLogger;
  const { kv, stop } = await composeForTest({ db, clock: systemClock });
  const pool = createSandboxPool({
    children: 1,
    bindings: [kv],
    image_cache_mb: 32,
    command: [process.execPath, join(import.meta.dir, "../../src/main.ts"), "sandbox"],
    clock: systemClock,
    log,
  });
  const records = new ExecutionRecords({
    logs,
    clock: systemClock,
    log,
    mapError: createErrorMapper(db),
  });
  const catalog = await openScriptCatalog({
    db,
    forget: (programId) => pool.forget(programId),
    ceilings: LIMIT_CEILINGS,
    log,
  });
  const gate = new Gate({ clock: systemClock });
  const invoker = createInvoker({
    catalog,
    gate,
    pool,
    db,
    records,
    clock: systemClock,
    log,
    newId,
    sdkVersion: "1.0",
  });
  const saved = { "script-1": 1, "script-2": 1 };
  return {
    db,
    records,
    gate,
    pool,
    deliver: invoker.deliver,
    /** A new version of script-1 (in app-1) or script-2 (in app-2). */
    save: (id: keyof typeof saved, code: string): Promise<void> =>
      db.tx(async (tx) => {
        saved[id] += 1;
        const { script, version } = scriptOf({
          id,
          app_id: id.replace("script", "app"),
          active_version: saved[id],
          code,
          source_map: '{"version":3,"sources":["hello"],"names":[],"mappings":"AASA"}',
        });
        await insertVersion(tx, version);
        await updateScript(tx, script);
        await db.notify(tx, scriptsChannel, id);
      }),
    call: async (script_id: keyof typeof saved, name = "x"): Promise<unknown> => {
      const path = `/${name}`;
      const result = await invoker.invoke(
        input({ script_id, request: request({ path, params: { name } }) }),
      );
      return JSON.parse(result.body);
    },
    [Symbol.asyncDispose]: async () => {
      await pool.stop();
      await records.stop();
      catalog.close();
      await stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

test("a script counts in its own app, is edited, breaks, and leaves records of it", async () => {
  await using bundle = await setup();
  const counter = `import { kv, log } from "picloud";
    export default async (ctx) => {
      const n = await kv.collection("hits").increment(ctx.request.params.name);
      log.info("hit", { n });
      return { n, app: ctx.appId, version: ctx.scriptVersion };
    }`;
  await bundle.save("script-1", counter);
  await bundle.save("script-2", counter);
  const counts = await Promise.all(Array.from({ length: 12 }, () => bundle.call("script-1")));
  expect(new Set(counts.map((count) => (count as { n: number }).n)).size).toBe(12);
  expect(await bundle.call("script-2")).toEqual({ n: 1, app: "app-2", version: 2 });

  await bundle.save("script-1", `export default (ctx) => ({ edited: ctx.scriptVersion })`);
  expect(await bundle.call("script-1")).toEqual({ edited: 3 });

  await bundle.save("script-1", `export default () => { throw new TypeError("secret reason"); }`);
  const error = await bundle.call("script-1").catch((reason: unknown) => reason);
  if (!(error instanceof PicError)) throw new Error(`no PicError: ${error}`);
  expect(error.code).toBe("script_error");
  expect(error.message).not.toContain("secret");

  const { items } = await bundle.records.list("script-1", { limit: 50, cursor: null });
  expect(items).toHaveLength(14);
  expect(items[0]).toMatchObject({
    id: error.details.extra?.execution_id,
    status: "error",
    status_code: 502,
    version: 4,
    error: { name: "TypeError", message: "secret reason" },
  });
  // line 1 of the compiled code is line 10 of what the author wrote
  expect(items[0]?.error?.stack).toContain("hello:10:");
  expect(items[13]?.logs[0]).toMatchObject({ level: "info", message: "hit" });
  expect(bundle.gate.stats()).toMatchObject({ running: 0, waiting: 0 });
}, 20_000);

test("what the binding refuses the script can catch by its code", async () => {
  await using bundle = await setup();
  await bundle.save(
    "script-1",
    `import { kv } from "picloud";
     const codeOf = (promise) => promise.then(() => null, (error) => error.code);
     export default async () => {
       const c = kv.collection("c");
       await c.set("text", "x");
       return [
         await codeOf(c.get("")),
         await codeOf(c.get("a\\0b")),
         await codeOf(c.get("\\ud800")),
         await codeOf(c.set("k", undefined)),
         await codeOf(c.set("k", "x".repeat(262143))),
         await codeOf(c.increment("text")),
         await codeOf(kv.collection("").get("k")),
       ];
     }`,
  );
  expect(await bundle.call("script-1")).toEqual([
    "kv_invalid_key",
    "kv_invalid_key",
    "kv_invalid_key",
    "kv_invalid_value",
    "kv_value_too_large",
    "kv_not_a_number",
    "kv_invalid_key",
  ]);
}, 20_000);

test("a delivery runs its handler with the event; its record has that without credentials", async () => {
  await using bundle = await setup();
  await bundle.save(
    "script-1",
    `import { kv, log } from "picloud";
     export default async ({ event, request, invocation }) => {
       log.info("seen", { cookie: event.value.headers.cookie });
       const n = await kv.collection("seen").increment(event.key);
       return { n, invocation, request: request === undefined, event };
     }`,
  );
  const payload = `{"collection":"c","key":"k","value":{"headers":{"cookie":"sid=12345678"}},"previous":null}`;
  const report = await bundle.deliver(delivery({ payload, attempt: 1 }));
  expect(report).toMatchObject({ status: "success", counts: true, error: null });
  expect(JSON.parse(report.result?.body ?? "")).toMatchObject({
    n: 1,
    invocation: "event",
    request: true,
    event: { id: "event-1", source: "kv", depth: 2, attempt: 2, key: "k", previous: null },
  });
  const record = await bundle.records.get(report.execution_id);
  expect(record).toMatchObject({
    invocation: "event",
    request: null,
    event: { id: "event-1", trigger_id: "trigger-1", attempt: 2, truncated: false },
    logs: [{ fields: { cookie: "[redacted]" } }],
  });
  expect(record?.event?.body).toBe(payload.replace("sid=12345678", "[redacted]"));
}, 20_000);

test("attempts of real handlers that fail count; the report says why, as the record does", async () => {
  await using bundle = await setup();
  await bundle.save(
    "script-1",
    `export default ({ request }) => {
       if (request.rest === "spin") for (;;) Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1);
       throw Object.assign(new RangeError("told " + request.headers.cookie), { code: "mine" });
     }`,
  );
  const thrown = await bundle.deliver(deferred({ headers: { cookie: "sid=12345678" } }));
  expect(thrown).toMatchObject({ status: "error", counts: true, result: null });
  expect(thrown.execution_id).toBe("event-1");
  expect(thrown.error?.message).toBe("told [redacted]");
  expect((await bundle.records.get("event-1"))?.error?.message).toBe("told [redacted]");
  // nothing inside can stop it: its child is killed
  const spun = await bundle.deliver(deferred({ rest: "spin" }, { attempt: 1 }));
  expect(spun).toMatchObject({ counts: true, error: { code: "budget_exceeded" } });
  expect(spun.error?.message).toContain("cpu_ms");
  expect(bundle.gate.stats()).toMatchObject({ running: 0, waiting: 0 });
}, 20_000);

test("a handler that is cut off by a stop has made no attempt", async () => {
  await using bundle = await setup();
  await bundle.save(
    "script-1",
    `import { kv } from "picloud";
     export default async () => {
       await kv.collection("c").increment("begun");
       await new Promise((done) => setTimeout(done, 8_000));
     }`,
  );
  const report = bundle.deliver(delivery());
  const begun = (): Promise<unknown> => bundle.db.get(sql`select key from kv where key = 'begun'`);
  while ((await begun()) === null) await Bun.sleep(5);
  await bundle.pool.stop();
  expect(await report).toMatchObject({ status: "sandbox_lost", counts: false, result: null });
  const late = await bundle.deliver(delivery());
  expect(late).toMatchObject({ status: "sandbox_lost", counts: false });
  expect(bundle.gate.stats().running).toBe(0);
}, 20_000);
