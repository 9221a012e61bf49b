/**
 * Two requests at the same time that each would take away one of the last two owners, in all pairs of
 * ways, on both engines: one owner is always left. PICLOUD_ROUNDS asks for another number of rounds.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import type { Actor } from "../../src/domain/accounts.ts";
import { AccountAdmin } from "../../src/services/account-admin.ts";
import { Audit } from "../../src/services/audit.ts";
import { StoredClock } from "../../src/services/clock.ts";
import { Passwords } from "../../src/services/passwords.ts";
import { listActiveOwners } from "../../src/storage/accounts.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { ENGINES } from "../bindings/engines.ts";
import { codeOf } from "./fakes.ts";
import { person } from "./people.ts";
import { openTwoServers, type TwoServers } from "./two-servers.ts";

const rounds = Number(process.env.PICLOUD_ROUNDS ?? 75);

type Way = (admin: AccountAdmin, by: Actor, whom: Actor) => Promise<unknown>;

/** How an owner can be lost to another, or step down. */
const WAYS: Readonly<Record<string, Way>> = {
  demote: (admin, by, whom) => admin.update(by, whom.username, { role: "member" }),
  deactivate: (admin, by, whom) => admin.update(by, whom.account_id, { is_active: false }),
  delete: (admin, by, whom) => admin.delete(by, whom.username),
  stepDown: (admin, by) => admin.update(by, by.username, { role: "admin" }),
  command: (admin, _, whom) => admin.update("command", whom.username, { role: "admin" }),
};

const PAIRS = Object.keys(WAYS).flatMap((one) => Object.keys(WAYS).map((other) => [one, other]));

/** What the second of two may hear: it is no owner any more, gone, or the last one. */
const lateCodes = ["conflict", "forbidden", "not_found", "unauthenticated"];

async function adminOver(db: Database): Promise<AccountAdmin> {
  const clock = new StoredClock(db, systemClock);
  await clock.load();
  const audit = new Audit({ db, clock, newId });
  return new AccountAdmin({ db, clock, newId, audit, passwords: new Passwords() });
}

for (const engine of ENGINES) {
  describe.skipIf(engine.missing !== null)(`${engine.name}: of the last two owners`, () => {
    let servers: TwoServers;
    let admins: [AccountAdmin, AccountAdmin];
    beforeAll(async () => {
      servers = await openTwoServers(engine.name);
      const [here, there] = servers.dbs;
      admins = [await adminOver(here), await adminOver(there)];
    });
    afterAll(() => servers.close());

    test(
      `one is left in ${rounds} races`,
      async () => {
        const [db] = servers.dbs;
        const outcomes = new Map<string, number>();
        for (let round = 0; round < rounds; round += 1) {
          const [one = "", other = ""] = PAIRS[round % PAIRS.length] ?? [];
          const olga = await person(db, `olga-${round}`, "owner");
          const otto = await person(db, `otto-${round}`, "owner");
          const codes = await Promise.all([
            codeOf((WAYS[one] as Way)(admins[0], olga, otto)),
            codeOf((WAYS[other] as Way)(admins[1], otto, olga)),
          ]);
          const left = await listActiveOwners(db, 9);
          const told = `${one} against ${other}: ${codes.join(", ")}`;
          expect([left.length, told]).toEqual([1, told]);
          // Those who could not both have their way: one did, and the other one was told.
          const late = codes.filter((code) => code !== "none");
          expect([late.length <= 1, told]).toEqual([true, told]);
          for (const code of late) expect(lateCodes).toContain(code);
          const outcome = late[0] ?? "both";
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
          await db.tx((tx) => tx.run(sql`delete from accounts`));
        }
        console.log(
          `${engine.name}: ${rounds} races, ${JSON.stringify(Object.fromEntries(outcomes))}`,
        );
      },
      rounds * 500 + 30_000,
    );
  });
}
