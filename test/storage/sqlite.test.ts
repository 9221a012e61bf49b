import { expect, test } from "bun:test";
import { getSetting, setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { conformance } from "./conformance/suite.ts";
import { makeFolder, openBoth } from "./sqlite-folder.ts";

conformance({
  name: "SQLite",
  async open(bounds = {}) {
    const folder = makeFolder();
    const { db, logs, close } = await openBoth(folder.path, { bounds });
    return {
      db,
      logs,
      async close() {
        await close();
        folder.remove();
      },
    };
  },
});

test("transactions and statements of their own are run in the order in which they came", async () => {
  const folder = makeFolder();
  const { db, close } = await openBoth(folder.path);
  const seen = { seq: 0 };
  const add = (name: string) => sql`update settings set value = value || ${name}`;
  await db.tx((tx) => setSetting(tx, "order", ""));
  await Promise.all([
    db.tx(async (tx) => {
      await tx.run(add("a"));
      await tx.run(add("b"));
    }),
    db.autocommit(seen).run(add("c")),
    db.tx((tx) => tx.run(add("d"))),
    db.autocommit(seen).run(add("e")),
  ]);
  expect(await getSetting(db, "order")).toBe("abcde");
  await close();
  folder.remove();
});
