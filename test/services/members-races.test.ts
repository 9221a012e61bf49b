/**
 * Somebody is removed from an app at the moment in which they make themselves a member again, as two
 * servers of one database see it: they are out.
 */
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import type { Actor } from "../../src/domain/accounts.ts";
import { Audit } from "../../src/services/audit.ts";
import { StoredClock } from "../../src/services/clock.ts";
import { Members } from "../../src/services/members.ts";
import { insertApp } from "../../src/storage/apps.ts";
import { getMember } from "../../src/storage/members.ts";
import type { Database } from "../../src/storage/port.ts";
import { ENGINES } from "../bindings/engines.ts";
import { codeOf } from "./fakes.ts";
import { person } from "./people.ts";
import { openTwoServers } from "./two-servers.ts";

const rounds = Number(process.env.PICLOUD_ROUNDS ?? 50);

async function membersOver(db: Database): Promise<Members> {
  const clock = new StoredClock(db, systemClock);
  await clock.load();
  return new Members({ db, clock, audit: new Audit({ db, clock, newId }) });
}

for (const { name, missing } of ENGINES) {
  describe.skipIf(missing !== null)(name, () => {
    test("whoever is removed does not put themselves back at the same moment", async () => {
      const { dbs, close } = await openTwoServers(name);
      try {
        const [db] = dbs;
        const owner = await person(db, "ada", "owner");
        const member = await person(db, "mia");
        const app = { id: newId(), slug: "blog", name: "Blog", created_at: 0 };
        await db.tx((tx) => insertApp(tx, app));
        const [here, there] = [await membersOver(db), await membersOver(dbs[1])];
        const place = { app: app.id, account: member.account_id };
        const letIn: Actor = { ...member, memberships: new Map([[app.id, "admin"]]) };
        for (let round = 0; round < rounds; round += 1) {
          await here.put(owner, place, { role: "admin" });
          const back = () => codeOf(here.put(letIn, place, { role: "admin" }));
          const [said] = await Promise.all([back(), there.delete(owner, place), back()]);
          expect(["none", "not_found"]).toContain(said);
          expect(await getMember(db, app.id, member.account_id)).toBeNull();
        }
      } finally {
        await close();
      }
    });
  });
}
