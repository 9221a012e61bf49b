/** One database as two servers see it, where there can be two; on SQLite both are the same. */
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Database } from "../../src/storage/port.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { ENGINES } from "../bindings/engines.ts";
import { testPostgres } from "../postgres.ts";

export interface TwoServers {
  dbs: [Database, Database];
  close(): Promise<void>;
}

/** @param engine as ENGINES names it */
export async function openTwoServers(engine: string): Promise<TwoServers> {
  if (engine === "SQLite") {
    const sqlite = ENGINES.find(({ name }) => name === engine);
    if (sqlite === undefined) throw new Error("There is no such engine");
    const { db, close } = await sqlite.open();
    return { dbs: [db, db], close };
  }
  const server = await testPostgres();
  const database = await server.createDatabase();
  const connect = () =>
    openPostgres({ url: server.url(database), clock: systemClock, log: silentLogger });
  const [first, second] = [await connect(), await connect()];
  return {
    dbs: [first.db, second.db],
    close: async () => {
      await Promise.all([first.close(), second.close()]);
      await server.dropDatabase(database);
    },
  };
}
