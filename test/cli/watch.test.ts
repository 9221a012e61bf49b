import { expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { watchFiles } from "../../src/cli/watch.ts";
import { newProject } from "./project.ts";

/** A watch whose runs are counted, and can be waited for. */
function watching(files: () => string[], before: () => Promise<void> = () => Promise.resolve()) {
  const end = new AbortController();
  let runs = 0;
  let wake: () => void = () => {};
  const ready = Promise.withResolvers<void>();
  const ended = watchFiles({
    signal: end.signal,
    onWatching: ready.resolve,
    run: async (seen) => {
      for (const file of files()) seen.add(file);
      await before();
      runs += 1;
      wake();
    },
  });
  return {
    ready: ready.promise,
    count: () => runs,
    /** Resolves when there were so many runs. */
    async reached(count: number) {
      while (runs < count) {
        const next = Promise.withResolvers<void>();
        wake = next.resolve;
        await next.promise;
      }
    },
    async [Symbol.asyncDispose]() {
      end.abort();
      await ended;
    },
  };
}

test("a save is a run, also by an editor that renames over", async () => {
  using project = newProject({ "a.ts": "1" });
  await using watch = watching(() => [project.path("a.ts")]);
  await watch.ready;
  const before = watch.count();
  project.write({ "a.ts": "2" });
  await watch.reached(before + 1);
  const second = watch.count();
  project.write({ "a.ts.tmp": "3" });
  renameSync(project.path("a.ts.tmp"), project.path("a.ts"));
  await watch.reached(second + 1);
  const third = watch.count();
  // The new file is watched as well as the old one was.
  project.write({ "a.ts": "4" });
  await watch.reached(third + 1);
});

test("a burst of saves is one run", async () => {
  using project = newProject({ "a.ts": "1" });
  await using watch = watching(() => [project.path("a.ts")]);
  await watch.ready;
  const before = watch.count();
  for (let n = 0; n < 50; n += 1) writeFileSync(project.path("a.ts"), String(n));
  await watch.reached(before + 1);
  project.write({ "a.ts": "last" });
  await watch.reached(before + 2);
  expect(watch.count()).toBeLessThanOrEqual(before + 3);
});

test("what is saved during a run is one more run", async () => {
  using project = newProject({ "a.ts": "1" });
  let write = false;
  await using watch = watching(
    () => [project.path("a.ts")],
    async () => {
      if (!write) return;
      write = false;
      project.write({ "a.ts": "during" });
    },
  );
  await watch.ready;
  const before = watch.count();
  write = true;
  project.write({ "a.ts": "2" });
  await watch.reached(before + 2);
});

test("folders come and go with the files that a run depends on", async () => {
  using project = newProject({ "a/a.ts": "1", "b/b.ts": "1" });
  let files = ["a/a.ts"];
  await using watch = watching(() => files.map(project.path));
  await watch.ready;
  const before = watch.count();
  files = ["b/b.ts"];
  project.write({ "a/a.ts": "2" });
  // The folder b is new to the watch: one run more.
  await watch.reached(before + 2);
  project.write({ "b/b.ts": "2" });
  await watch.reached(before + 3);
  const after = watch.count();
  rmSync(project.path("b"), { recursive: true });
  await watch.reached(after + 1);
  mkdirSync(project.path("b"));
});

test("a watch ends at once, also while nothing happens", async () => {
  using project = newProject({ "a.ts": "1" });
  const watch = watching(() => [join(project.folder, "a.ts"), "/nowhere/at/all.ts"]);
  await watch.ready;
  await watch[Symbol.asyncDispose]();
});
