/** Logins with a password that is being replaced, or of an account that is being switched off, on both engines. */
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { AccountAdmin } from "../../src/services/account-admin.ts";
import { Accounts } from "../../src/services/accounts.ts";
import { LoginAttempts } from "../../src/services/attempts.ts";
import { Audit } from "../../src/services/audit.ts";
import { StoredClock } from "../../src/services/clock.ts";
import { Passwords } from "../../src/services/passwords.ts";
import { Sessions } from "../../src/services/sessions.ts";
import type { Database } from "../../src/storage/port.ts";
import { ENGINES, opener } from "../bindings/engines.ts";
import { codeOf, password } from "./fakes.ts";
import { countCredentials, person } from "./people.ts";

const rounds = 12;

async function servicesOver(db: Database) {
  const clock = new StoredClock(db, systemClock);
  await clock.load();
  const log = silentLogger;
  const audit = new Audit({ db, clock, newId });
  const sessions = new Sessions({ db, clock, audit, ttl_hours: 1 });
  const passwords = new Passwords();
  const attempts = new LoginAttempts(systemClock);
  const accountAdmin = new AccountAdmin({ db, clock, newId, audit, passwords });
  const accounts = new Accounts({
    ...{ db, clock, log, newId },
    ...{ passwords, attempts, sessions, audit },
  });
  return { accounts, accountAdmin };
}

for (const engine of ENGINES) {
  describe.skipIf(engine.missing !== null)(`${engine.name}: a login`, () => {
    const { open } = opener(engine);

    test("leaves no session of a password that is replaced at the same moment", async () => {
      const db = await open();
      const { accounts, accountAdmin } = await servicesOver(db);
      const olga = await person(db, "olga", "owner");
      const { id } = await accountAdmin.create(olga, { username: "mia", password });
      let present = password;
      for (let round = 0; round < rounds; round += 1) {
        const next = `${password} ${round}`;
        const login = { username: "mia", password: present, address: `10.0.${round}.1` };
        const changed = accountAdmin.update(olga, "mia", { password: next });
        const code = await codeOf(accounts.login(login));
        await changed;
        expect(["none", "invalid_credentials"]).toContain(code);
        expect((await countCredentials(db, id)).sessions).toBe(0);
        present = next;
      }
    }, 30_000);

    test("leaves no session of an account that is switched off at the same moment", async () => {
      const db = await open();
      const { accounts, accountAdmin } = await servicesOver(db);
      const olga = await person(db, "olga", "owner");
      const { id } = await accountAdmin.create(olga, { username: "mia", password });
      for (let round = 0; round < rounds; round += 1) {
        const login = codeOf(
          accounts.login({ username: "mia", password, address: `10.0.${round}.1` }),
        );
        // About as long as a password takes.
        await codeOf(
          accounts.login({ username: "eve", password: "wrong", address: `10.1.${round}.1` }),
        );
        await accountAdmin.update(olga, "mia", { is_active: false });
        expect(["none", "invalid_credentials"]).toContain(await login);
        expect((await countCredentials(db, id)).sessions).toBe(0);
        await accountAdmin.update(olga, "mia", { is_active: true });
      }
    }, 30_000);
  });
}
