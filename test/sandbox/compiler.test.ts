import { afterAll, afterEach, expect, test } from "bun:test";
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { PicError } from "../../src/domain/errors.ts";
import type { CompileRequest } from "../../src/sandbox/api.ts";
import {
  type CompilerOptions,
  createCompiler,
  type ServerCompiler,
} from "../../src/sandbox/compiler.ts";

const sandbox = join(import.meta.dir, "../../src/sandbox");
const folder = mkdtempSync(join(tmpdir(), "picloud-compiler-"));
const role = entry(
  "role",
  'import { runCompileChild } from "SANDBOX/compile-child.ts"; await runCompileChild();',
);
const hello: CompileRequest = {
  name: "hello",
  kind: "endpoint",
  source: "export default () => 1;",
};

const compilers: ServerCompiler[] = [];

afterEach(async () => {
  for (const compiler of compilers.splice(0)) await compiler.stop();
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A child program of a few lines; SANDBOX is the folder of the sources. */
function entry(name: string, text: string): string[] {
  const path = join(folder, `${name}.ts`);
  writeFileSync(path, text.replaceAll("SANDBOX", sandbox));
  return [process.execPath, path];
}

function setup(options: Partial<CompilerOptions> = {}): ServerCompiler {
  const compiler = createCompiler({
    command: role,
    clock: systemClock,
    log: silentLogger,
    ...options,
  });
  compilers.push(compiler);
  return compiler;
}

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof PicError) return error.code;
    throw error;
  }
  return "none";
}

function isRunning(pid: number): boolean {
  // a zombie is gone too: only its parent has not looked yet
  if (!existsSync(`/proc/${pid}/stat`)) return false;
  return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await Bun.sleep(5);
  }
}

function pidOf(compiler: ServerCompiler): number {
  const { pid } = compiler.stats();
  if (pid === null) throw new Error("no child");
  return pid;
}

test("nothing is started before the first save, and one child answers many", async () => {
  const compiler = setup();
  expect(compiler.stats()).toEqual({ pid: null, started: 0, lost: 0 });
  const results = await Promise.all(Array.from({ length: 6 }, () => compiler.compile(hello)));
  expect(results.every(({ ok }) => ok)).toBe(true);
  expect(compiler.stats().started).toBe(1);
});

test("a bad source is an answer, not an error, and the child stays", async () => {
  const compiler = setup();
  const bad = await compiler.compile({ ...hello, source: "let x = ;" });
  expect(bad).toEqual({ ok: false, problems: [{ message: "Unexpected ;", line: 1, column: 9 }] });
  expect((await compiler.compile(hello)).ok).toBe(true);
  expect(compiler.stats()).toMatchObject({ started: 1, lost: 0 });
});

test("answers keep to their requests", async () => {
  const compiler = setup();
  const sources = Array.from({ length: 10 }, (_, index) => `export default () => ${index}.5;`);
  const results = await Promise.all(
    sources.map((source) => compiler.compile({ ...hello, source })),
  );
  results.forEach((result, index) => {
    expect(result.ok && result.code).toContain(`=> ${index}.5;`);
  });
});

test("the child is gone when it was not needed for a while, and comes again", async () => {
  const compiler = setup({ keepWarmMs: 30 });
  await compiler.compile(hello);
  const pid = pidOf(compiler);
  await until(() => !isRunning(pid), "the child ends");
  expect(compiler.stats().pid).toBeNull();
  expect((await compiler.compile(hello)).ok).toBe(true);
  expect(compiler.stats().started).toBe(2);
});

test("prepare starts the child ahead, once, and it does not stay for ever", async () => {
  const compiler = setup({ keepWarmMs: 300 });
  compiler.prepare();
  compiler.prepare();
  const pid = pidOf(compiler);
  expect((await compiler.compile(hello)).ok).toBe(true);
  expect(pidOf(compiler)).toBe(pid);
  await until(() => !isRunning(pid), "the prepared child ends");
  const unused = setup({ keepWarmMs: 10 });
  unused.prepare();
  const unusedPid = pidOf(unused);
  await until(() => !isRunning(unusedPid), "a child that was only prepared ends");
});

test("the queue is bounded", async () => {
  const compiler = setup({ queueMax: 1 });
  const ends = await Promise.all([1, 2, 3, 4].map(() => failure(compiler.compile(hello))));
  expect(ends.sort()).toEqual(["none", "none", "unavailable", "unavailable"]);
});

test("a source that takes too long ends in timeout, and the next one works", async () => {
  const compiler = setup({ timeoutMs: 150 });
  await compiler.compile(hello);
  const stuck = pidOf(compiler);
  process.kill(stuck, "SIGSTOP");
  expect(await failure(compiler.compile(hello))).toBe("timeout");
  await until(() => !isRunning(stuck), "the stuck child is killed");
  expect((await compiler.compile(hello)).ok).toBe(true);
  expect(compiler.stats()).toMatchObject({ started: 2, lost: 1 });
});

test("a source that takes too much memory is refused, and the next one works", async () => {
  const compiler = setup();
  const doubled = Array.from({ length: 30 }, (_, i) => `B${i}=B${i - 1}+B${i - 1}`).slice(1);
  const source = `enum E {B0='${"x".repeat(1000)}',${doubled.join(",")}} export default () => E.B29`;
  const result = await compiler.compile({ ...hello, source });
  expect(result).toMatchObject({ ok: false, problems: [{ line: 1, column: 1 }] });
  expect(JSON.stringify(result)).toContain("too much memory");
  expect((await compiler.compile(hello)).ok).toBe(true);
}, 15_000);

test("a child that was killed from outside costs no save", async () => {
  const compiler = setup();
  await compiler.compile(hello);
  process.kill(pidOf(compiler), "SIGKILL");
  expect((await compiler.compile(hello)).ok).toBe(true);
  expect(compiler.stats().lost).toBe(0);
});

test("a source that crashes the child twice is refused", async () => {
  const crasher = entry(
    "crasher",
    `import { openFrameChannel } from "SANDBOX/frames.ts";
     import { FRAME_COMPILE_READY } from "SANDBOX/compile-frames.ts";
     const channel = await openFrameChannel(3, { onFrame: () => process.kill(process.pid, "SIGSEGV"), onClose: () => process.exit(0) });
     channel.send(FRAME_COMPILE_READY, 0, "");`,
  );
  const compiler = setup({ command: crasher });
  const result = await compiler.compile(hello);
  expect(result).toMatchObject({ ok: false });
  expect(compiler.stats()).toMatchObject({ pid: null, started: 2, lost: 1 });
});

test("a child that answers nonsense, or answers nothing that was asked, does no harm", async () => {
  const liar = entry(
    "liar",
    `import { openFrameChannel } from "SANDBOX/frames.ts";
     import { FRAME_COMPILE_READY, FRAME_COMPILED } from "SANDBOX/compile-frames.ts";
     const channel = await openFrameChannel(3, {
       onFrame: (_type, number) => {
         channel.send(FRAME_COMPILED, number + 7, '{"ok":true}');
         channel.send(5, number, "what?");
         channel.send(FRAME_COMPILED, number, "no JSON");
       },
       onClose: () => process.exit(0) });
     channel.send(FRAME_COMPILE_READY, 0, "");`,
  );
  const compiler = setup({ command: liar });
  expect(await failure(compiler.compile(hello))).toBe("unavailable");
  expect(compiler.stats().pid).toBeNull();
});

test.each([
  ["does not exist", ["/nowhere/picloud", "compile"]],
  ["ends at once", ["/bin/sh", "-c", "exit 3"]],
  ["is no child of ours", ["/bin/cat", "/dev/null"]],
])("a command that %s is unavailable, not a hang", async (_title, command) => {
  const compiler = setup({ command });
  expect(await failure(compiler.compile(hello))).toBe("unavailable");
  compiler.prepare();
  expect(await failure(compiler.compile(hello))).toBe("unavailable");
});

test("stop ends the child and what waits, may be called twice, and nothing starts afterwards", async () => {
  const compiler = setup();
  await compiler.compile(hello);
  const pid = pidOf(compiler);
  process.kill(pid, "SIGSTOP");
  const waiting = [failure(compiler.compile(hello)), failure(compiler.compile(hello))];
  await Promise.all([compiler.stop(), compiler.stop()]);
  expect(await Promise.all(waiting)).toEqual(["unavailable", "unavailable"]);
  expect(isRunning(pid)).toBe(false);
  compiler.prepare();
  expect(await failure(compiler.compile(hello))).toBe("unavailable");
  expect(compiler.stats()).toMatchObject({ pid: null, started: 1 });
});

test("stop while the child starts leaves nothing behind", async () => {
  const compiler = setup();
  compiler.prepare();
  const pid = pidOf(compiler);
  await compiler.stop();
  expect(isRunning(pid)).toBe(false);
});

test("the child has none of our environment, no folder of ours, and goes first when memory is short", async () => {
  process.env.PICLOUD_TEST_SECRET = "canary-value";
  try {
    const compiler = setup();
    await compiler.compile(hello);
    const pid = pidOf(compiler);
    expect(readFileSync(`/proc/${pid}/environ`, "latin1")).not.toContain("canary-value");
    expect(readlinkSync(`/proc/${pid}/cwd`)).toBe("/");
    expect(readFileSync(`/proc/${pid}/oom_score_adj`, "latin1").trim()).toBe("1000");
  } finally {
    delete process.env.PICLOUD_TEST_SECRET;
  }
});

test("the child ends when the server is killed, even if it does not react", async () => {
  const server = entry(
    "server",
    `import { createCompiler } from "SANDBOX/compiler.ts";
     import { systemClock } from "SANDBOX/../base/clock.ts";
     import { silentLogger } from "SANDBOX/../base/log.ts";
     const compiler = createCompiler({ command: ${JSON.stringify(role)}, clock: systemClock, log: silentLogger });
     await compiler.compile({ name: "a", kind: "module", source: "" });
     console.log(compiler.stats().pid);
     setInterval(() => {}, 1000);`,
  );
  const subprocess = Bun.spawn(server, { stdout: "pipe", stdin: "ignore" });
  const { value } = await subprocess.stdout.getReader().read();
  const pid = Number(new TextDecoder().decode(value));
  expect(isRunning(pid)).toBe(true);
  process.kill(pid, "SIGSTOP");
  subprocess.kill("SIGKILL");
  await subprocess.exited;
  await until(() => !isRunning(pid), "the child ends with its server");
});

test("a child that nobody asks ends by itself", async () => {
  const command = entry(
    "idle",
    'import { runCompileChild } from "SANDBOX/compile-child.ts"; await runCompileChild(50);',
  );
  const compiler = setup({ command });
  await compiler.compile(hello);
  const pid = pidOf(compiler);
  await until(() => !isRunning(pid), "the idle child ends");
  expect((await compiler.compile(hello)).ok).toBe(true);
});

test("in a compiled binary: the same answers, and no macro is executed", async () => {
  const binary = join(folder, "compiled");
  const build = Bun.spawnSync(
    [
      ...[process.execPath, "build", "--compile", "--minify", "--bytecode", "--format=esm"],
      ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
      ...[role[1] ?? "", "--outfile", binary],
    ],
    { cwd: folder, stdout: "ignore", stderr: "pipe" },
  );
  expect(build.stderr.toString()).not.toContain("error");
  const [here, there] = [setup(), setup({ command: [binary] })];
  const canary = join(folder, "canary");
  for (const source of [
    'import { kv } from "picloud";\nenum E { A }\nexport default async (ctx: any) => { throw new Error("x" + E.A + kv) }',
    "export default () =>\n /(/",
    `import { writeFileSync } from "fs" with { type: "macro" }; export default () => writeFileSync(${JSON.stringify(canary)}, "")`,
    `import { writeFileSync } from "macro:fs"; export default () => writeFileSync(${JSON.stringify(canary)}, "")`,
    `import x from ${JSON.stringify(role[1])}; export default () => [x, process.env.HOME, process.env.NODE_ENV]`,
  ]) {
    const request: CompileRequest = { name: "same", kind: "endpoint", source };
    expect(await there.compile(request)).toEqual(await here.compile(request));
  }
  expect(existsSync(canary)).toBe(false);
}, 30_000);
