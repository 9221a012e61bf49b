/**
 * A process of the crash test: deploys manifests with ascending numbers, and says which one was
 * acknowledged, until somebody kills it. Arguments: the folder of a SQLite database or the URL of a
 * PostgreSQL one, the first number, and the id of an account.
 */
import { writeSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Actor } from "../../src/domain/accounts.ts";
import { LIMIT_CEILINGS } from "../../src/domain/limits.ts";
import { Audit } from "../../src/services/audit.ts";
import { Deployments } from "../../src/services/deployments.ts";
import { LiveRoutes } from "../../src/services/live-routes.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { openMain } from "../storage/sqlite-folder.ts";
import { numberedManifest } from "./deployment-setup.ts";
import { FakeCompiler } from "./fakes.ts";

const [target = "", first = "", account = ""] = process.argv.slice(2);
const clock = systemClock;
const db = target.startsWith("postgres")
  ? (await openPostgres({ url: target, clock, log: silentLogger })).db
  : await openMain(target);
const live = new LiveRoutes({ db, log: silentLogger });
await live.start();
const audit = new Audit({ db, clock, newId });
const deployments = new Deployments({
  ...{ db, clock, newId, live, audit },
  compiler: new FakeCompiler(),
  ceilings: LIMIT_CEILINGS,
});
const actor: Actor = {
  account_id: account,
  username: "ada",
  role: "owner",
  memberships: new Map(),
  session_hash: "0".repeat(64),
  key: null,
  address: "10.0.0.1",
  request_id: "request-1",
};
for (let number = Number(first); ; number += 1) {
  const scripts = numberedManifest(number);
  await deployments.create(actor, "default", { scripts, prune: true });
  writeSync(1, `${number}\n`);
}
