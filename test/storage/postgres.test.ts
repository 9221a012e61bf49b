import { test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { postgresMissing, testPostgres } from "../postgres.ts";
import type { Engine } from "./conformance/engine.ts";
import { conformance } from "./conformance/suite.ts";

const missing = postgresMissing();

if (missing === null) conformance(engine());
else test.skip(`PostgreSQL: every store and every guarantee (${missing})`, () => {});

function engine(): Engine {
  return {
    name: "PostgreSQL",
    async open({ txMsMax, writerQueueMax: queueMax } = {}) {
      const server = await testPostgres();
      const name = await server.createDatabase();
      const { db, logs, close } = await openPostgres({
        url: server.url(name),
        clock: systemClock,
        log: silentLogger,
        bounds: {
          ...(txMsMax === undefined ? {} : { txMsMax }),
          ...(queueMax === undefined ? {} : { queueMax }),
        },
      });
      return {
        db,
        logs,
        async close() {
          await close();
          await server.dropDatabase(name);
        },
      };
    },
  };
}
