/** A process of the lock's test: takes the lock of a folder and waits to be killed. */
import { lockDataDir } from "../../src/storage/sqlite-lock.ts";

lockDataDir(process.argv[2] as string);
process.stdout.write("held\n");
setInterval(() => {}, 1_000);
