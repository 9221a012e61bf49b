/**
 * docs/cli.md and what the README says of `pic`, word for word, typed at a terminal: the life of an app by
 * `pic` alone. Each block runs in a shell with `set -e`, in the folder where the one before it ended; what the page shows below a block is
 * what the terminal shows, with `…` for what nobody can know, in a line or as lines. The exit codes are
 * those of the commands that the page names for them.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { build } from "../../scripts/build.ts";
import { EXIT } from "../../src/cli/exit-codes.ts";
import { packageFiles } from "../cli/project.ts";
import { useFolders } from "./folders.ts";
import { adminLogin, startServer, type TestServer } from "./server.ts";
import { until } from "./steps.ts";

type Typed = readonly [after: string, text: string];

interface Block {
  commands: string;
  /** What the page shows below it; null when it shows nothing. */
  answer: string | null;
  /** Of a row of the table of exit codes; 0 for a block. */
  code: number;
}

interface Ran {
  code: number;
  shown: string;
}

const root = resolve(import.meta.dir, "../..");
const page = readFileSync(`${root}/docs/cli.md`, "utf8");
const readme = readFileSync(`${root}/README.md`, "utf8");
const readmeSection = readme.match(/\n## pic, the command line\n([\s\S]*?)\n## /)?.[1] ?? "";
const pageUrl = "http://pi:8080";
const newPassword = "a grand piano of 1815";
const shellMsMax = 30_000;
const waitMsMax = 10_000;

/** What a person types when these are asked. */
const TYPED: Readonly<Record<string, readonly Typed[]>> = {
  "pic login": [["Password", `${adminLogin.password}\r`]],
  "pic accounts create grace": [["New password", "\u0003"]],
  "pic accounts create": [
    ["New password", `${newPassword}\r`],
    ["Once more", `${newPassword}\r`],
  ],
  "pic api-keys mint": [["Password of admin", `${adminLogin.password}\r`]],
};

const folders = useFolders();
let server: TestServer;

beforeAll(async () => {
  server = await startServer();
  const program = (await picCommand()).map((word) => `'${word}'`).join(" ");
  mkdirSync(join(folders.root, "bin"));
  writeFileSync(join(folders.root, "bin/pic"), `#!/bin/sh\nexec ${program} "$@"\n`);
  chmodSync(join(folders.root, "bin/pic"), 0o755);
  for (const [file, text] of Object.entries(slugify)) {
    folders.folder(`admin/project/guestbook/${dirname(file)}`);
    writeFileSync(join(guestbook(), file), text);
  }
  cpSync(`${root}/docs/examples/hello`, folders.folder("reader/project"), { recursive: true });
}, 120_000);

afterAll(() => server[Symbol.asyncDispose]());

/** The folder that the page makes. */
function guestbook(): string {
  return join(folders.root, "admin/project/guestbook");
}

/** A package that nobody downloaded, by the name of one that there is. */
const slugify = {
  ...packageFiles(
    "slugify",
    'module.exports = (text) => String(text).toLowerCase().replace(/[^a-z0-9]+/g, "-");\n',
  ),
  "node_modules/slugify/index.d.ts":
    "declare function slugify(text: string): string;\nexport = slugify;\n",
};

/** The program that people get, its sources (PICLOUD_TEST_SOURCE), or the server's own command. */
async function picCommand(): Promise<string[]> {
  if (process.env.PICLOUD_TEST_SOURCE === "1") return [process.execPath, `${root}/src/pic.ts`];
  const binary = process.env.PICLOUD_TEST_BINARY;
  return binary === undefined ? [await build({ program: "pic", target: null })] : [binary, "pic"];
}

/** Blocks and rows of exit codes, in the order of the page. */
function blocksOf(text: string): Block[] {
  const block = /```sh\n([\s\S]*?)```\n(?:\n```text\n([\s\S]*?)```)?|^\| (\d+) \|.*\| `(.+)` \|$/gm;
  return [...text.matchAll(block)].map(([, commands, answer, code, example = ""]) => ({
    commands: commands ?? example,
    answer: answer ?? null,
    code: Number(code ?? 0),
  }));
}

/** Runs commands at the terminal of somebody, in the folder where their last ones ended. */
async function atTerminal(commands: string, home = "admin"): Promise<Ran> {
  const place = join(folders.folder(home), ".place");
  const typed = Object.entries(TYPED).find(([asked]) => commands.includes(asked))?.[1] ?? [];
  const waiting = [...typed];
  let [shown, seen] = ["", 0];
  const script = `cd "$(cat '${place}' 2>/dev/null || echo '${folders.folder(`${home}/project`)}')"
    trap 'pwd > "${place}"' EXIT
    ${commands.replaceAll(pageUrl, server.url)}`;
  const child = Bun.spawn(["bash", "-euo", "pipefail", "-c", script], {
    env: {
      PATH: `${folders.root}/bin:${process.env.PATH ?? ""}`,
      HOME: folders.folder(home),
      TERM: "xterm",
      NO_COLOR: "1",
    },
    timeout: shellMsMax,
    terminal: {
      cols: 200,
      rows: 50,
      data(terminal, bytes) {
        shown += new TextDecoder().decode(bytes);
        const [after, text] = waiting[0] ?? [];
        const at = after === undefined ? -1 : shown.indexOf(after, seen);
        if (after === undefined || text === undefined || at === -1) return;
        seen = at + after.length;
        waiting.shift();
        terminal.write(text);
      },
    },
  });
  const code = await child.exited;
  child.terminal?.close();
  return { code, shown: asOnThePage(shown) };
}

function asOnThePage(shown: string): string {
  const text = Bun.stripANSI(shown).replaceAll("\r\n", "\n");
  return text.replaceAll(server.url, pageUrl);
}

/** Whether a terminal showed what the page shows. */
function fits(shown: string, answer: string): boolean {
  const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const lines = answer.trimEnd().split("\n");
  const pattern = lines.map((line) =>
    line === "…" ? "(?:.*\\n)*" : `${line.split("…").map(escaped).join(".*")}\\n`,
  );
  return new RegExp(`^${pattern.join("")}$`).test(`${shown.trimEnd()}\n`);
}

/** What takes a moment, and a person does not see: before the block that begins with these words. */
const BEFORE: Readonly<Record<string, () => Promise<unknown>>> = {
  "pic deploy . --dry-run": async () => {
    const tsc = [process.execPath, "x", "tsc", "-p", guestbook()];
    const checked = Bun.spawnSync(tsc, { cwd: root });
    expect(checked.stdout.toString()).toBe("");
  },
  "pic logs guests": () => recorded("guestbook", "guests", 3),
  "pic logs hello": () => recorded("default", "hello", 1),
  "pic kv set": () => letters("open", 2),
  "pic logs thank": () => letters("replayed", 1),
};

/** What else must be true, after the block that begins with these words. */
const AFTER: Readonly<Record<string, () => Promise<unknown>>> = {
  "pic login": async () => {
    const file = join(folders.root, "admin/.config/picloud/credentials.json");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, "utf8")).not.toContain(adminLogin.password);
  },
  "echo 'export": async () => {
    const source = readFileSync(join(guestbook(), "labels.ts"), "utf8");
    expect(page).toContain(source);
  },
  "pic accounts create ada": async () => {
    const login = `echo '${newPassword}' | pic login --url ${pageUrl} --username ada --password-stdin`;
    expect((await atTerminal(login, "ada")).code).toBe(EXIT.done);
    expect((await atTerminal("pic whoami", "ada")).shown).toContain("guestbook:editor");
    expect((await atTerminal("pic kv ls visits --app guestbook", "ada")).code).toBe(EXIT.done);
    expect((await atTerminal("pic accounts ls", "ada")).code).toBe(EXIT.forbidden);
    expect((await atTerminal("pic apps show default", "ada")).code).toBe(EXIT.notFound);
  },
  "pic accounts set-role": async () => {
    expect((await atTerminal("pic whoami", "ada")).code).toBe(EXIT.notSignedIn);
  },
  "pic api-keys rm": async () => {
    const key = join(guestbook(), "ci.key");
    expect(statSync(key).mode & 0o777).toBe(0o600);
    const used = `PICLOUD_TOKEN=$(cat '${key}') pic whoami --url ${pageUrl}`;
    expect((await atTerminal(used)).code).toBe(EXIT.notSignedIn);
    expect((await server.client.apps.list({})).items.map(({ slug }) => slug)).toEqual(["default"]);
  },
};

async function letters(state: "open" | "replayed", count: number): Promise<void> {
  await until(`${count} letters are ${state}`, waitMsMax, async () => {
    const { items } = await server.client.deadLetters.list("guestbook", { state });
    return items.length === count ? items : null;
  });
}

async function recorded(app: string, script: string, count: number): Promise<void> {
  const { items } = await server.client.scripts.list({ app, name: script });
  await until(`${count} executions are recorded`, waitMsMax, async () => {
    const logs = await server.client.scripts.logs(items[0]?.id ?? "");
    return logs.items.length === count ? logs : null;
  });
}

async function hook(hooks: typeof BEFORE, commands: string): Promise<void> {
  for (const [words, work] of Object.entries(hooks)) if (commands.startsWith(words)) await work();
}

async function live(blocks: readonly Block[], home: string): Promise<void> {
  for (const { commands, answer, code } of blocks) {
    await hook(BEFORE, commands);
    const ran = await atTerminal(commands, home);
    const { shown } = ran;
    expect({ commands, ...ran }).toEqual({ commands, code, shown });
    if (answer !== null && !fits(shown, answer)) expect(shown).toBe(answer);
    await hook(AFTER, commands);
  }
}

test("the page on pic is true word for word, from the first login to the last logout", async () => {
  const blocks = blocksOf(page);
  expect(blocks.filter(({ answer }) => answer !== null).length).toBeGreaterThan(10);
  expect(new Set(blocks.map(({ code }) => code))).toEqual(new Set<number>(Object.values(EXIT)));
  await live(blocks, "admin");
}, 180_000);

test("what the README says of pic is true, too", async () => {
  const blocks = blocksOf(readmeSection);
  expect(blocks.length).toBeGreaterThan(2);
  await live(blocks, "reader");
}, 60_000);

test("every hook of this test is of a block that the page has", () => {
  const blocks = [...blocksOf(page), ...blocksOf(readmeSection)];
  for (const words of [...Object.keys(BEFORE), ...Object.keys(AFTER)]) {
    expect([words, blocks.some((one) => one.commands.startsWith(words))]).toEqual([words, true]);
  }
});

test("the comparison sees what differs", () => {
  expect(fits("a 1 b\nmore\nlast\n", "a … b\n…\nlast\n")).toBe(true);
  expect(fits("a 1 b\nlast\n", "a … b\n…\nlast\n")).toBe(true);
  expect(fits("a 1 c\nlast\n", "a … b\n…\nlast\n")).toBe(false);
  expect(fits("a 1 b\nlast\nmore\n", "a … b\n…\nlast\n")).toBe(false);
  expect(fits("axb\n", "a.b\n")).toBe(false);
});
