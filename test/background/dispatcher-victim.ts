/**
 * A server that is killed: handles what waits in a data folder, notes each handled event in a file, and
 * ends when nothing waits any more, or by SIGKILL at a step.
 *
 *   bun dispatcher-victim.ts <folder> <file> [<step> <nth time>]
 */
import { appendFileSync } from "node:fs";
import { createDispatcher } from "../../src/background/dispatcher.ts";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { Gate } from "../../src/execution/gate.ts";
import { sql } from "../../src/storage/sql.ts";
import { openBoth } from "../storage/sqlite-folder.ts";
import { report } from "./dispatching.ts";

const [dir, file, step, nth] = process.argv.slice(2) as [string, string, string?, string?];
const { db, close } = await openBoth(dir);
const gate = new Gate({ clock: systemClock });
let reached = 0;
const dispatcher = createDispatcher({
  db,
  gate,
  clock: systemClock,
  log: silentLogger,
  newId,
  invoker: {
    async deliver({ app_id, event_id }) {
      await gate.acquire(app_id, "event", null);
      appendFileSync(file, `${event_id}\n`);
      gate.leave(app_id, "event");
      return report();
    },
  },
  failpoint(name) {
    if (name !== step) return;
    reached += 1;
    if (reached === Number(nth)) process.kill(process.pid, "SIGKILL");
  },
});
await dispatcher.start();
for (;;) {
  const row = await db.get(sql<{ count: number }>`select count(*) as count from outbox`);
  if (row?.count === 0) break;
  await new Promise((resolve) => setImmediate(resolve));
}
await dispatcher.stop();
await close();
