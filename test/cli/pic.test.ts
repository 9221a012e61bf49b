/** The command line itself: help, wrong use, and the commands that need no server. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { version } from "../../package.json";
import { PicRun } from "../../src/cli/context.ts";
import { processSurroundings } from "../../src/cli/environment.ts";
import { buildProgram } from "../../src/cli/pic.ts";
import { sdkDeclarations } from "../../src/sdk/declarations.ts";
import { newUser } from "./pic-runs.ts";

const program = buildProgram(new PicRun(processSurroundings({}), null));
type Command = typeof program;

/** Every command of the tree with its path: `apps members ls`. */
function everyCommand(command: Command = program, path: string[] = []): [string[], Command][] {
  return command.commands.flatMap((one) => {
    const its = [...path, one.name()];
    return [[its, one] as [string[], Command], ...everyCommand(one, its)];
  });
}

describe("help", () => {
  test("is on standard output; without a command it is a complaint", async () => {
    using user = newUser();
    const help = await user.pic(["--help"]);
    expect({ code: help.code, err: help.err }).toEqual({ code: 0, err: "" });
    expect(help.out).toStartWith("Usage: pic ");
    expect(await user.pic([])).toEqual({ code: 2, out: "", err: help.out });
    expect(await user.pic(["help"])).toEqual(help);
  });

  test("every command has it, says what it does, and does nothing else", async () => {
    using user = newUser({ fetch: () => Promise.reject(new Error("asked a server")) });
    for (const [path, command] of everyCommand()) {
      const { code, out, err } = await user.pic([...path, "--help"]);
      expect({ path, code, err }).toEqual({ path, code: 0, err: "" });
      expect(out).toStartWith(`Usage: pic ${path.join(" ")}`);
      expect([path, command.summary().length > 0]).toEqual([path, true]);
      const [, , says = ""] = out.split("\n");
      expect([path, /^[A-Z]/.test(says)]).toEqual([path, true]);
    }
    expect(user.asked).toEqual([]);
  });

  test("no command has an option of its own with the name of one that all have", () => {
    const common = program.options.flatMap(({ long, short }) => [long, short]);
    for (const [path, { options }] of everyCommand()) {
      const own = options.flatMap(({ long, short }) => [long, short]).filter(Boolean);
      expect([path, own.filter((name) => common.includes(name))]).toEqual([path, []]);
    }
  });

  test("no command takes a password as an argument", () => {
    for (const [path, { options, registeredArguments }] of everyCommand()) {
      const values = options.filter((option) => option.required || option.optional);
      const names = [
        ...values.map(({ long }) => long),
        ...registeredArguments.map((a) => a.name()),
      ];
      expect([path, names.filter((name) => /password/.test(name ?? ""))]).toEqual([path, []]);
    }
  });
});

describe("a wrong command line is exit code 2, with what was most likely meant", () => {
  const wrong: [args: string[], said: string][] = [
    [["whoamii"], "Did you mean whoami?"],
    [["app", "ls"], "Did you mean apps?"],
    [["apps", "lst"], "Did you mean ls?"],
    [["whoami", "--urll", "x"], "Did you mean --url?"],
    [["whoami", "--output", "xml"], "table, json, tsv"],
    [["whoami", "-o"], "argument missing"],
    [["whoami", "more"], "too many arguments"],
    [["apps", "show"], "missing required argument 'app'"],
    [["completion", "powershell"], "bash, zsh, fish"],
    [["\u001b[2Jls\nerror: fake"], "unknown command"],
  ];
  for (const [args, said] of wrong) {
    test(JSON.stringify(args), async () => {
      using user = newUser();
      const { code, out, err } = await user.pic(args);
      expect({ code, out }).toEqual({ code: 2, out: "" });
      expect(err).toStartWith("error: ");
      expect(err).toContain(said);
      expect(err).toContain("\n→ ");
      expect(err).not.toContain("\u001b");
    });
  }
});

test("a wrong command line points to the help of the very command", async () => {
  using user = newUser();
  const wrong: [args: string[], help: string][] = [
    [["nothing-like-it"], "pic --help"],
    [["routes", "nothing-like-it"], "pic routes --help"],
    [["routes", "match"], "pic routes match --help"],
    [["triggers", "add", "kv"], "pic triggers add kv --help"],
    [["dead-letters", "ls", "--nothing-like-it"], "pic dead-letters ls --help"],
    [["apps", "rename", "blog"], "pic apps rename --help"],
    [["accounts", "create", "ada", "--role", "king"], "pic accounts create --help"],
  ];
  for (const [args, help] of wrong) {
    const { code, err } = await user.pic(args);
    expect([args, code, err.split("\n").slice(1)]).toEqual([args, 2, [`→ ${help}`, ""]]);
  }
});

test("--version is the product's, wherever it stands first", async () => {
  using user = newUser();
  for (const args of [["--version"], ["-V"]]) {
    expect(await user.pic(args)).toEqual({ code: 0, out: `${version}\n`, err: "" });
  }
});

describe("pic open", () => {
  const PICLOUD_URL = "http://pi:8080";

  test("prints the dashboard's address and opens it where there is a screen", async () => {
    const screens: [NodeJS.Platform, Record<string, string>, string[]][] = [
      ["linux", { DISPLAY: ":0" }, ["xdg-open"]],
      ["linux", { WAYLAND_DISPLAY: "wayland-0" }, ["xdg-open"]],
      ["darwin", {}, ["open"]],
      ["win32", {}, ["cmd", "/c", "start", ""]],
    ];
    for (const [platform, env, opener] of screens) {
      using user = newUser({ platform, env: { PICLOUD_URL, ...env } });
      const ran = await user.pic(["open"]);
      expect(ran).toEqual({ code: 0, out: "http://pi:8080/admin/\n", err: "" });
      expect(user.launched).toEqual([[...opener, "http://pi:8080/admin/"]]);
    }
  });

  test("only prints it without a screen and with --print, and needs a server", async () => {
    using user = newUser({ env: { PICLOUD_URL } });
    expect((await user.pic(["open"])).out).toBe("http://pi:8080/admin/\n");
    const env = { DISPLAY: ":0" };
    expect((await user.pic(["open", "--print"], { env })).code).toBe(0);
    expect(user.launched).toEqual([]);
    expect((await user.pic(["open"], { env: { PICLOUD_URL: "" } })).code).toBe(3);
  });

  test("a browser that cannot be started is no failure", async () => {
    const around = { ...processSurroundings({ PICLOUD_URL, DISPLAY: ":0", PATH: "/nowhere" }) };
    expect(() => around.launch(["xdg-open-that-is-not-there", "x"])).toThrow();
    const { runPic } = await import("../../src/cli/pic.ts");
    const sink = { write: () => true };
    const launch = () => {
      throw new Error("there is no such program");
    };
    expect(await runPic(["open"], { ...around, launch, stdout: sink, stderr: sink })).toBe(0);
  });
});

describe("pic types", () => {
  test("writes what an editor needs, with which a script of the examples checks", async () => {
    using user = newUser();
    const { code, out, err } = await user.pic(["types"]);
    const files = ["picloud.d.ts", "picloud.schema.json", "tsconfig.json"];
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out.trimEnd().split("\n")).toEqual(files.map((name) => `${user.homeDir}/${name}`));
    expect(await Bun.file(`${user.homeDir}/picloud.d.ts`).text()).toBe(sdkDeclarations());
    const root = `${import.meta.dir}/../..`;
    const published = await Bun.file(`${root}/docs/manifest.schema.json`).json();
    expect(await Bun.file(`${user.homeDir}/picloud.schema.json`).json()).toEqual(published);
    await Bun.write(
      `${user.homeDir}/hello.ts`,
      'import { kv } from "picloud";\nimport { label } from "labels";\nexport default async () => label(await kv.collection("a").increment("b"));\n',
    );
    const labels = "export function label(n: number): string {\n  return String(n);\n}\n";
    await Bun.write(`${user.homeDir}/modules/labels.ts`, labels);
    const check = () =>
      Bun.spawnSync([process.execPath, `${root}/node_modules/.bin/tsc`, "-p", user.homeDir]);
    const good = check();
    expect(good.stdout.toString()).toBe("");
    await Bun.write(`${user.homeDir}/modules/labels.ts`, labels.replace("n: number", "n: string"));
    expect(check().stdout.toString()).toContain("hello.ts(3,");
  }, 60_000);

  test("makes the folder, may be called again, and leaves a tsconfig.json of one's own alone", async () => {
    using user = newUser();
    const config = `${user.homeDir}/app/tsconfig.json`;
    expect((await user.pic(["types", "app"])).code).toBe(0);
    const ours = await Bun.file(config).text();
    expect((await user.pic(["types", "app"])).err).toBe("");
    await Bun.write(config, "{}");
    const { code, err } = await user.pic(["types", "app"]);
    expect([code, err.includes("--force")]).toEqual([0, true]);
    expect(await Bun.file(config).text()).toBe("{}");
    expect((await user.pic(["types", "app", "--force"])).code).toBe(0);
    expect(await Bun.file(config).text()).toBe(ours);
  });

  test("a folder that cannot be written is exit code 1 and says which", async () => {
    using user = newUser();
    await Bun.write(`${user.homeDir}/file`, "");
    const { code, err } = await user.pic(["types", "file"]);
    expect([code, err.includes(`${user.homeDir}/file`)]).toEqual([1, true]);
    expect(existsSync(`${user.homeDir}/file/picloud.d.ts`)).toBe(false);
  });
});
