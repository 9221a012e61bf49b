/** The commands of the executable besides `serve`, as a person types them. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { version } from "../../package.json";
import { runCommand } from "./command.ts";
import { useFolders } from "./folders.ts";

const root = resolve(import.meta.dir, "../..");
const failed = 1;
const wrongUsage = 2;

const { folder } = useFolders();

describe("commands", () => {
  test("an executable reads nothing from the folder it is started in", async () => {
    const dir = folder("trap");
    writeFileSync(join(dir, ".env"), "PICLOUD_DATADIR=trap\n");
    writeFileSync(join(dir, "bunfig.toml"), 'preload = ["./trap.ts"]\n');
    writeFileSync(join(dir, "trap.ts"), 'console.log("trapped"); process.exit(9);\n');
    const { code, stdout } = await runCommand(["version"], { cwd: dir });
    expect([code, stdout]).toEqual([0, `picloud ${version}\n`]);
  });

  test("version, and nothing else", async () => {
    for (const name of ["version", "--version", "-v"]) {
      expect(await runCommand([name])).toEqual({
        code: 0,
        stdout: `picloud ${version}\n`,
        stderr: "",
      });
    }
  });

  test.each([
    ["--help", "picloud serve"],
    ["help", "picloud serve"],
    ["serve --help", "PICLOUD_BIND"],
    ["serve -h", "PICLOUD_DATA_DIR"],
    ["admin --help", "reset-password"],
    ["admin reset-password --help", "--generate"],
    ["types --help", "picloud.d.ts"],
    ["version --help", "picloud version"],
    ["sandbox --help", "Internal"],
    ["compile --help", "Internal"],
  ])("%s explains itself on standard output", async (line, part) => {
    const { code, stdout, stderr } = await runCommand(line.split(" "));
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toContain(part);
  });

  test("that do not exist are refused with a suggestion", async () => {
    expect(await runCommand(["serv"])).toEqual({
      code: wrongUsage,
      stdout: "",
      stderr: "picloud: unknown command serv; did you mean serve?\n",
    });
    const none = await runCommand([]);
    expect([none.code, none.stdout]).toEqual([wrongUsage, ""]);
    expect(none.stderr).toContain("picloud serve");
    expect((await runCommand(["admin", "reset"])).code).toBe(wrongUsage);
    expect((await runCommand(["sandbox"])).code).toBe(failed);
  });

  test("types: what is printed type-checks, and so does a script against it", async () => {
    const dir = folder("types");
    const { code, stdout } = await runCommand(["types"]);
    expect(code).toBe(0);
    writeFileSync(join(dir, "picloud.d.ts"), stdout);
    writeFileSync(
      join(dir, "script.ts"),
      `import { base64, type Context, hex, kv, log } from "picloud";
       interface Visit { at: number }
       const visits = kv.collection<Visit>("visits");
       export default async function (ctx: Context) {
         const { name = "nobody" } = ctx.request.params;
         const before: Visit | null = await visits.get(name);
         await visits.set(name, { at: Date.now() });
         const n: number = await kv.collection("n").increment(name, 2);
         log.info("visit", { name, n }); console.log(new URL("http://a/").searchParams.get("x"));
         const id: string = crypto.randomUUID(), binary: string | null = ctx.request.bodyBase64;
         return { statusCode: 200, headers: { "x-n": n }, body: [before?.at, id, binary, hex, base64] };
       }
       // @ts-expect-error: a key is text
       visits.get(1);
       // @ts-expect-error: nothing of the host is here
       process.exit();\n`,
    );
    const options = {
      compilerOptions: {
        strict: true,
        noEmit: true,
        module: "esnext",
        moduleResolution: "bundler",
        target: "esnext",
        lib: ["ESNext"],
        types: [],
      },
    };
    writeFileSync(join(dir, "tsconfig.json"), JSON.stringify(options));
    const checked = Bun.spawnSync([process.execPath, "x", "tsc", "-p", dir], { cwd: root });
    expect(checked.stdout.toString() + checked.stderr.toString()).toBe("");
    expect(checked.exitCode).toBe(0);
  });
});
