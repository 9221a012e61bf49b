/**
 * The `compile` role: takes sources from the server, one after the other, and answers each. It holds
 * nothing between two of them, so that the server may kill it at any time.
 *
 * It ends when the server's end of the socket pair closes, and by itself when nobody asks for a while.
 * When memory runs short the kernel takes it before anything else.
 */
import { writeFileSync } from "node:fs";
import { compileIdleMsMax } from "../domain/limits.ts";
import type { CompileRequest, CompileResult } from "./api.ts";
import { assertNoMacros, compileSource } from "./compile.ts";
import {
  compileChildFd,
  FRAME_COMPILE,
  FRAME_COMPILE_READY,
  FRAME_COMPILED,
} from "./compile-frames.ts";
import { openFrameChannel } from "./frames.ts";

/** Serves until the server goes or `idleMsMax` pass without a request. */
export async function runCompileChild(idleMsMax: number = compileIdleMsMax): Promise<void> {
  offerToBeKilled();
  const ended = Promise.withResolvers<void>();
  const idle = setTimeout(ended.resolve, idleMsMax);
  // also warms the compiler up: the first script takes 2 ms instead of 5
  const proven = assertNoMacros();

  const channel = await openFrameChannel(compileChildFd, {
    onFrame: (type, number, text) => {
      if (type !== FRAME_COMPILE) return;
      idle.refresh();
      proven
        .then(() => answer(text))
        .then((result) => channel.send(FRAME_COMPILED, number, JSON.stringify(result)))
        .catch(ended.reject);
    },
    onClose: () => ended.resolve(),
  });
  proven.then(() => channel.send(FRAME_COMPILE_READY, 0, ""), ended.reject);
  await ended.promise;
  process.exit(0);
}

function answer(text: string): Promise<CompileResult> {
  // the server wrote it: its shape needs no check
  return compileSource(JSON.parse(text) as CompileRequest);
}

/** Any process may raise its own score; where it cannot, nothing is lost. */
function offerToBeKilled(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "1000");
  } catch {}
}
