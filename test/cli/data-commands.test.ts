/** Entries and documents from the command line, against a real database. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { serve } from "../http/admin/server.ts";
import { newUser, type RunOptions } from "./pic-runs.ts";
import { newProject } from "./project.ts";

async function signedIn() {
  const t = await serve();
  const user = newUser({ env: { PICLOUD_URL: t.publicUrl, PICLOUD_TOKEN: t.token } });
  return {
    user,
    client: t.client,
    /** Standard output of a command that is done. */
    async done(args: string[], options: RunOptions = {}): Promise<string> {
      const { code, out, err } = await user.pic(args, options);
      expect({ args, code, err: code === 0 ? "" : err }).toEqual({ args, code: 0, err: "" });
      return out;
    },
    async code(args: string[], options: RunOptions = {}): Promise<number> {
      return (await user.pic(args, options)).code;
    },
    async [Symbol.asyncDispose]() {
      user[Symbol.dispose]();
      await t[Symbol.asyncDispose]();
    },
  };
}

test("entries are set from an argument, a file or a pipe, and read back", async () => {
  await using t = await signedIn();
  using project = newProject({ "value.json": '{"from":"file"}' });
  await t.done(["kv", "set", "c", "a", '{"n":1}']);
  await t.done(["kv", "set", "c", "b", "--file", "value.json"], { workingDir: project.folder });
  await t.done(["kv", "set", "c", "d"], { input: "[1]" });
  await t.done(["kv", "set", "c", "e", "as it stands", "--text", "--ttl", "600"]);
  expect(await t.done(["kv", "get", "c", "a"])).toBe('{"n":1}\n');
  expect(await t.done(["kv", "get", "c", "b"])).toBe('{"from":"file"}\n');
  expect(await t.done(["kv", "get", "c", "d"])).toBe("[1]\n");
  const entry = JSON.parse(await t.done(["kv", "get", "c", "e", "--entry", "-o", "json"]));
  expect(entry).toMatchObject({ value: "as it stands", version: 1 });
  expect(entry.expires_at).not.toBeNull();
  expect((await t.done(["kv", "ls"])).split("\t").slice(0, 2)).toEqual(["c", "4"]);
  const keys = (await t.done(["kv", "ls", "c", "-o", "tsv"])).trimEnd().split("\n");
  expect(keys.map((line) => line.split("\t")[0])).toEqual(["a", "b", "d", "e"]);
  expect(await t.done(["kv", "ls", "c", "--prefix", "b"])).toStartWith("b\t");

  expect(await t.code(["kv", "set", "c", "a", "1", "--if-version", "7"])).toBe(6);
  await t.done(["kv", "set", "c", "a", "1", "--if-version", "1"]);
  await t.done(["kv", "delete", "c", "a"]);
  expect(await t.code(["kv", "get", "c", "a"])).toBe(5);
});

test("what is no value is refused before anything is asked", async () => {
  await using t = await signedIn();
  const bad = await t.user.pic(["kv", "set", "c", "a", "{a:1}"]);
  expect([bad.code, bad.err]).toEqual([2, expect.stringContaining("line 1, column 2")]);
  expect(await t.code(["kv", "set", "c", "a", "1", "--file", "x.json"])).toBe(2);
  expect(await t.code(["kv", "set", "c", "a"], { input: ["nobody"] })).toBe(2);
  expect(await t.code(["kv", "set", "c", "a", "1", "--ttl", "soon"])).toBe(2);
  const long = JSON.stringify("x".repeat(300 * 1024));
  const huge = await t.user.pic(["kv", "set", "c", "a"], { input: long });
  expect([huge.code, huge.err]).toEqual([1, expect.stringContaining("at most 262144")]);
});

test("documents are written, found, read and deleted", async () => {
  await using t = await signedIn();
  const made = JSON.parse(await t.done(["docs", "insert", "people", '{"age":1}', "-o", "json"]));
  await t.done(["docs", "set", "people", "ada", '{"age":36}']);
  await t.done(["docs", "set", "people", "ada", '{"age":37}']);
  expect(JSON.parse(await t.done(["docs", "get", "people", "ada"]))).toMatchObject({ age: 37 });
  expect(await t.code(["docs", "set", "people", "ada", "{}", "--if-version", "1"])).toBe(6);
  const find = async (...more: string[]) =>
    JSON.parse(await t.done(["docs", "find", "people", "-o", "json", ...more])).map(
      ({ id }: { id: string }) => id,
    );
  expect(await find("--where", '{"age":{"$gte":18}}')).toEqual(["ada"]);
  expect(await find("--sort", '{"age":-1}', "--limit", "1")).toEqual(["ada"]);
  expect(await find("--sort", '{"age":1}')).toEqual([made.id, "ada"]);
  expect((await t.done(["docs", "ls"])).split("\t").slice(0, 2)).toEqual(["people", "2"]);
  expect((await t.done(["docs", "ls", "people"])).trimEnd().split("\n")).toHaveLength(2);
  for (const args of [
    ["docs", "find", "people", "--where", "{"],
    ["docs", "find", "people", "--limit", "0"],
    ["docs", "insert", "people", "[1]"],
  ]) {
    expect([args, await t.code(args)]).toEqual([args, 2]);
  }
  expect(await t.code(["docs", "find", "people", "--where", '{"$bad":1}'])).toBe(1);
  await t.done(["docs", "delete", "people", "ada"]);
  expect(await t.code(["docs", "get", "people", "ada"])).toBe(5);
});

test("records go out and in as JSON Lines, through files and pipes", async () => {
  await using t = await signedIn();
  using project = newProject();
  const here = { workingDir: project.folder };
  for (let n = 0; n < 30; n += 1) {
    await t.client.kv.set("default", { collection: "c", key: `k${n}`, value: { n } });
  }
  const lines = await t.done(["kv", "export"]);
  expect(lines.trimEnd().split("\n")).toHaveLength(30);
  await t.done(["kv", "export", "c", "--to", "out.jsonl"], here);
  expect(readFileSync(project.path("out.jsonl"), "utf8")).toBe(lines);
  expect(await t.code(["kv", "export", "--to", "out.jsonl"], here)).toBe(6);
  await t.done(["kv", "export", "--to", "out.jsonl", "--force"], here);

  const twice = await t.user.pic(["kv", "import", "out.jsonl"], here);
  expect([twice.code, twice.err]).toEqual([6, expect.stringContaining("error: ")]);
  await t.client.apps.create({ slug: "other", name: "other" });
  const into = ["kv", "import", "--app", "other", "-o", "json"];
  const counts = { imported: 30, updated: 0, skipped: 0 };
  expect(JSON.parse(await t.done([...into, "--dry-run"], { input: lines }))).toEqual(counts);
  expect(JSON.parse(await t.done(into, { input: lines }))).toEqual(counts);
  expect(JSON.parse(await t.done([...into, "out.jsonl", "--mode", "skip"], here))).toEqual({
    ...counts,
    imported: 0,
    skipped: 30,
  });
  expect(await t.code(["docs", "import", "out.jsonl"], here)).toBe(1);
  expect(await t.code(["kv", "import", "absent.jsonl"], here)).toBe(2);
  expect(await t.code(["kv", "import", "."], here)).toBe(2);
});

test("an export that is cut off leaves no file, and is a failure", async () => {
  await using t = await signedIn();
  using project = newProject();
  const cut: RunOptions["fetch"] = () => {
    const body = new ReadableStream({
      pull(stream) {
        stream.enqueue(new TextEncoder().encode('{"collection":"c"'));
        stream.error(new Error("gone"));
      },
    });
    const headers = { "content-type": "application/x-ndjson" };
    return Promise.resolve(new Response(body, { headers }));
  };
  const options = { workingDir: project.folder, fetch: cut };
  const { code, err } = await t.user.pic(["kv", "export", "--to", "out.jsonl"], options);
  expect([code, err]).toEqual([7, expect.stringContaining("cut off")]);
  expect(() => readFileSync(project.path("out.jsonl"))).toThrow();
});

test("what others have written does nothing to a terminal", async () => {
  await using t = await signedIn();
  const hostile = "\u001b]0;owned\u0007\u001b[2Jfake\u009b31m\u202e";
  await t.client.kv.set("default", { collection: "c", key: "k", value: hostile });
  await t.client.docs.insert("default", { collection: "d", value: { id: "x", hostile } });
  for (const args of [
    ["kv", "ls", "c"],
    ["kv", "get", "c", "k"],
    ["kv", "export"],
    ["docs", "ls", "d"],
    ["docs", "get", "d", "x"],
  ]) {
    const out = await t.done(args, { isTerminal: true });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
    const plain = out.replaceAll(/\u001b\[(?:1|22)m/g, "");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
    expect([args, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/.test(plain)]).toEqual([
      args,
      false,
    ]);
  }
});
