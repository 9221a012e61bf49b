/** A process of the lock's test: takes the lock of a folder and waits to be killed. */
import { lockDataDir } from "../../src/storage/sqlite-lock.ts";

lockDataDir(process.argv[2] as string);
// Nothing refers to the lock: it is held for the life of the process all the same.
Bun.gc(true);
await new Promise((resolve) => setImmediate(resolve));
Bun.gc(true);
process.stdout.write("held\n");
setInterval(() => {}, 1_000);
