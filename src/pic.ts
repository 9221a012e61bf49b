/**
 * The entry of `pic`. The version is answered before anything is loaded: programs ask for it often.
 * Exit codes: src/cli/exit-codes.ts.
 */
import { writeSync } from "node:fs";
import { version } from "../package.json";

const args = process.argv.slice(2);

if (args.length === 1 && (args[0] === "--version" || args[0] === "-V")) {
  writeSync(1, `${version}\n`);
} else {
  const { picMain } = await import("./cli/main.ts");
  process.exitCode = await picMain(args, process.env);
}
