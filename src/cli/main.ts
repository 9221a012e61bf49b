/** `pic` as a process: what the entries of `pic` and `picloud pic` have in common. */
import { type Environment, processSurroundings } from "./environment.ts";
import { EXIT } from "./exit-codes.ts";
import { runPic } from "./pic.ts";

/** Returns the exit code. */
export function picMain(args: readonly string[], env: Environment): Promise<number> {
  // `pic logs … | head`: whoever read has had enough, which is no failure.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: { code?: unknown }) => {
      if (error.code === "EPIPE") process.exit(EXIT.done);
      throw error;
    });
  }
  return runPic(args, processSurroundings(env));
}
