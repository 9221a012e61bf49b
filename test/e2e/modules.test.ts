/** Modules as their author meets them: saved, imported, edited, broken, and never another app's. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { newId } from "../../src/base/ids.ts";
import type { PicClient, PicClientError } from "../../src/client.ts";
import { startServer, type TestServer } from "./server.ts";
import { deploy, problemOf, recordOf, refusal } from "./steps.ts";

let server: TestServer;
let client: PicClient;
let made = 0;

beforeAll(async () => {
  server = await startServer();
  client = server.client;
}, 60_000);

afterAll(async () => {
  await server[Symbol.asyncDispose]();
}, 30_000);

/** A new app, so that every test has names of its own. */
async function newApp(): Promise<string> {
  made += 1;
  return (await client.apps.create({ slug: `app-${made}`, name: `App ${made}` })).slug;
}

const module = (app: string, name: string, source: string) =>
  client.scripts.create({ app, name, kind: "module", source });

const endpoint = (app: string, name: string, source: string) =>
  deploy(client, { app, name, source, path: `/${app}/${name}` });

async function answer(app: string, name: string): Promise<unknown> {
  const response = await fetch(`${server.url}/${app}/${name}`);
  expect(response.status).toBe(200);
  return response.json();
}

describe("a module", () => {
  test("is imported in every form, by scripts and by modules, and evaluated once", async () => {
    const app = await newApp();
    await module(app, "base", "export const state = { loads: 0 }; export default 'base';");
    await module(
      app,
      "middle",
      `import { state } from "base";
       export * from "base"; export * as all from "base"; export { default } from "base";
       export const bump = (): number => ++state.loads;`,
    );
    await endpoint(
      app,
      "main",
      `import name, { all, bump, state } from "middle";
       import * as base from "base";
       import "base";
       export default async () => {
         bump();
         const later = await import("base");
         return { name, one: state === base.state && later.state === all.state, loads: base.state.loads };
       };`,
    );
    const expected = { name: "base", one: true, loads: 1 };
    expect(await answer(app, "main")).toEqual(expected);
    // what one execution did to a module no other sees
    const answers = await Promise.all(Array.from({ length: 20 }, () => answer(app, "main")));
    for (const one of answers) expect(one).toEqual(expected);
  });

  test("is seen by the next execution when it is edited, at any depth, and rolled back", async () => {
    const app = await newApp();
    const { id } = await module(app, "deep", "export const label = 'one';");
    await module(
      app,
      "upper",
      'import { label } from "deep"; export const shout = () => label + "!";',
    );
    await endpoint(app, "main", 'import { shout } from "upper"; export default () => shout();');
    expect(await answer(app, "main")).toBe("one!");
    for (const label of ["two", "three", "four"]) {
      await client.scripts.update(id, { source: `export const label = '${label}';` });
      expect(await answer(app, "main")).toBe(`${label}!`);
    }
    await client.scripts.rollback(id, { version: 1 });
    expect(await answer(app, "main")).toBe("one!");
    const broken = client.scripts.update(id, { source: "export const label = ;" });
    expect((await refusal(broken)).code).toBe("invalid_source");
    expect(await answer(app, "main")).toBe("one!");
  });

  test("keeps nothing for the next execution, neither in itself nor in globals", async () => {
    const app = await newApp();
    await module(
      app,
      "shared",
      `export const seen: string[] = [];
       export class Counter { static count = 0; }
       export function spoil() {
         seen.push("x"); Counter.count += 1;
         (globalThis as any).leak = 1; (Array.prototype as any).leak = 1;
         return [seen.length, Counter.count];
       }`,
    );
    const source = `import { spoil } from "shared";
      export default () => ({ before: [(globalThis as any).leak, ([] as any).leak], now: spoil() });`;
    for (const name of ["one", "two"]) await endpoint(app, name, source);
    for (const name of ["one", "two", "one", "one", "two"]) {
      expect(await answer(app, name)).toEqual({ before: [null, null], now: [1, 1] });
    }
  });

  test("throws in its own lines and columns, below those of who called it", async () => {
    const app = await newApp();
    await module(
      app,
      "prices",
      `interface Item { cents: number }

       export function total(items: Item[]): number {
         if (items.length === 0) {
           throw new RangeError("nothing to add");
         }
         return items.reduce((sum: number, item: Item) => sum + item.cents, 0);
       }`.replaceAll("\n       ", "\n"),
    );
    await endpoint(
      app,
      "main",
      'import { total } from "prices";\n\nexport default (): number => {\n  return total([]);\n};',
    );
    const response = await fetch(`${server.url}/${app}/main`);
    expect(response.status).toBe(502);
    const record = await recordOf(client, response);
    expect(record.error).toMatchObject({ name: "RangeError", message: "nothing to add" });
    expect(record.error?.stack.split("\n").map((line) => line.trim())).toEqual([
      "at total (prices:5:15)",
      "at default (main:4:3)",
    ]);
  });

  test("is neither routed nor executed", async () => {
    const app = await newApp();
    const { id } = await module(app, "labels", "export default () => 1;");
    expect((await refusal(client.routes.create(id, { path: `/${app}/x` }))).status).toBe(422);
    const response = await fetch(`${server.url}/api/v1/execute/${id}`, {
      headers: { authorization: `Bearer ${server.token}` },
    });
    expect(response.status).toBe(404);
  });
});

describe("what a module may not be", () => {
  test("is refused with the line and column of the problem", async () => {
    const app = await newApp();
    for (const [source, line, column] of [
      ['import { kv } from "picloud";\n\nexport const c = kv.collection("c");', 3, 18],
      ["export const a = 1;\n  export let b = 2;", 2, 10],
      ["const name = 'x';\nexport const f = () => import(name);", 2, 24],
      ["console.log(1)", 1, 1],
    ] as const) {
      const error = await refusal(module(app, "bad", source));
      expect([error.status, error.code]).toEqual([422, "invalid_source"]);
      expect(error.problem?.errors).toEqual([
        { path: "source", message: expect.any(String), line, column },
      ] as never);
    }
    for (const name of ["kv", "picloud", "a-b", "1a"]) {
      const error = await refusal(module(app, name, ""));
      expect([error.status, error.problem?.errors?.[0]?.path]).toEqual([422, "name"]);
    }
  });

  test("is part of a cycle, also when it is the module that others waited for", async () => {
    const app = await newApp();
    const imports = (name: string): string => `import "${name}"; export const x = 1;`;
    const { warnings } = await module(app, "a", imports("b"));
    expect(warnings).toEqual([
      {
        path: "source",
        message: 'The import "b" does not exist; running this script will fail',
        line: 1,
        column: 1,
      },
    ]);
    const error = await refusal(module(app, "b", `\n  ${imports("a")}`));
    expect(error.status).toBe(422);
    expect(error.problem?.errors).toEqual([
      { path: "source", message: "The imports form a cycle: b -> a -> b", line: 2, column: 3 },
    ]);
  });
});

describe("saves at the same time", () => {
  test("never make a cycle together, lose what is imported, or route a module", async () => {
    const app = await newApp();
    const codeOf = (call: Promise<unknown>): Promise<string> =>
      call.then(
        () => "saved",
        (error: PicClientError) => error.code,
      );
    for (let round = 0; round < 5; round += 1) {
      const names = [`a${round}`, `b${round}`];
      const both = await Promise.all(names.map((name) => module(app, name, "")));
      const saves = both.map(({ id }, at) =>
        codeOf(client.scripts.update(id, { source: `import "${names[1 - at]}";` })),
      );
      expect((await Promise.all(saves)).sort()).toEqual(["invalid_source", "saved"]);
      const [deleted, made] = await Promise.all([
        module(app, `c${round}`, "").then(({ id }) => codeOf(client.scripts.delete(id))),
        module(app, `d${round}`, `import "c${round}";`),
      ]);
      const { items } = await client.scripts.imports(made.id);
      expect(items).toHaveLength(deleted === "saved" ? 0 : 1);
      const source = "export default () => 1;";
      const { id } = await client.scripts.create({ app, name: `e${round}`, source });
      const codes = await Promise.all([
        codeOf(client.scripts.update(id, { kind: "module" })),
        codeOf(client.routes.create(id, { path: `/${app}/e${round}` })),
      ]);
      expect(codes.filter((code) => code === "saved")).toHaveLength(1);
    }
  });
});

describe("an import that does not exist", () => {
  test("fails the execution, says which one in the record alone, and works once it is there", async () => {
    const app = await newApp();
    await endpoint(app, "main", 'import { x } from "later_on"; export default () => x;');
    const response = await fetch(`${server.url}/${app}/main`);
    expect(response.status).toBe(502);
    const problem = await problemOf(response.clone() as Response);
    expect(problem.code).toBe("module_unavailable");
    expect(JSON.stringify(problem)).not.toContain("later_on");
    const record = await recordOf(client, response);
    expect(record).toMatchObject({ status: "error", status_code: 502 });
    expect(record.error).toMatchObject({ code: "module_unavailable" });
    expect(record.error?.message).toContain('There is no module "later_on" in this app');
    await module(app, "later_on", "export const x = 'here';");
    expect(await answer(app, "main")).toBe("here");
  });

  test("stays missing when it is an endpoint, another app's module, or written otherwise", async () => {
    const [app, other] = [await newApp(), await newApp()];
    await endpoint(app, "plain", "export const x = 1; export default () => x;");
    await module(other, "theirs", "export const x = 'secret';");
    await module(app, "Cased", "export const x = 1;");
    for (const [at, name] of ["plain", "theirs", "cased", "main3"].entries()) {
      await endpoint(app, `main${at}`, `import * as m from "${name}"; export default () => m;`);
      const response = await fetch(`${server.url}/${app}/main${at}`);
      expect([name, response.status]).toEqual([name, 502]);
      expect((await problemOf(response)).code).toBe("module_unavailable");
    }
    await module(app, "__proto__", "export const x = 'own';");
    await endpoint(app, "odd", 'import { x } from "\\u005f_proto__"; export default () => x;');
    expect(await answer(app, "odd")).toBe("own");
  });

  test("is not found by what a script makes up while it runs", async () => {
    const [app, other] = [await newApp(), await newApp()];
    await module(other, "theirs", "export const x = 'secret';");
    await module(app, "unlisted", "export const x = 'mine, but not imported';");
    const source = `const names = ["theirs", "unlisted", "${other}/theirs", "\\u0001picloud/host.ts", "../host.ts"];
      export default async () => {
        const found: string[] = [];
        for (const name of names) {
          const load = (0, eval)("(name) => import(name)");
          await load(name).then(() => found.push(name), () => {});
        }
        return found;
      };`;
    await endpoint(app, "main", source);
    expect(await answer(app, "main")).toEqual([]);
  });
});

describe("two apps", () => {
  test("with modules of one name run each their own, also at once and after edits", async () => {
    const apps = [await newApp(), await newApp()];
    const ids = await Promise.all(
      apps.map(async (app) => {
        const { id } = await module(app, "shared", `export const who = "${app} 0";`);
        await endpoint(app, "main", 'import { who } from "shared"; export default () => who;');
        return id;
      }),
    );
    for (let round = 1; round <= 3; round += 1) {
      await Promise.all(
        apps.map((app, at) =>
          client.scripts.update(ids[at] as string, {
            source: `export const who = "${app} ${round}";`,
          }),
        ),
      );
      const answers = await Promise.all(
        [...apps, ...apps, ...apps].map(async (app) => [app, await answer(app, "main")]),
      );
      for (const [app, who] of answers) expect(who).toBe(`${app} ${round}`);
    }
  });
});

describe("a program", () => {
  test("of two hundred modules, and one of eight floors of diamonds, run", async () => {
    const app = await newApp();
    const names = Array.from({ length: 200 }, (_, at) => `m${at}`);
    for (const name of names) await module(app, name, "export const n = 1;");
    const imports = names.map((name) => `import { n as ${name} } from "${name}";`).join("\n");
    await endpoint(app, "wide", `${imports}\nexport default () => ${names.join(" + ")};`);
    expect(await answer(app, "wide")).toBe(200);

    for (let floor = 7; floor >= 0; floor -= 1) {
      const below = floor === 7 ? [] : [`f${floor + 1}a`, `f${floor + 1}b`];
      const source = `${below.map((name) => `import { n as ${name} } from "${name}";`).join("\n")}
        export const n = ${["1", ...below].join(" + ")};`;
      for (const name of [`f${floor}a`, `f${floor}b`]) await module(app, name, source);
    }
    await endpoint(app, "deep", 'import { n } from "f0a"; export default () => n;');
    expect(await answer(app, "deep")).toBe(255);
    const higher = await refusal(module(app, "higher", 'import "f0a"; export const n = 1;'));
    expect(higher.problem?.errors?.[0]?.message).toContain("higher -> f0a");
  }, 30_000);
});

describe("the edges", () => {
  test("are listed both ways, and protect what is imported", async () => {
    const app = await newApp();
    const labels = await module(app, "labels", "export const a = 1;");
    const tags = await module(app, "tags", 'import { a } from "labels"; export const b = a;');
    const { script } = await endpoint(
      app,
      "main",
      'import { kv } from "picloud"; import { a } from "labels"; import "tags"; export default () => [a, kv];',
    );
    const ref = ({ id, name, kind }: { id: string; name: string; kind: string }) => ({
      id,
      name,
      kind,
    });
    expect(await client.scripts.imports(script.id)).toEqual({
      items: [ref(labels), ref(tags)],
    } as never);
    expect(await client.scripts.importedBy(labels.id)).toEqual({
      items: [ref(script), ref(tags)],
    } as never);
    expect(await client.scripts.importedBy(script.id)).toEqual({ items: [] });
    for (const change of [
      () => client.scripts.delete(labels.id),
      () => client.scripts.update(labels.id, { name: "words" }),
      () =>
        client.scripts.update(labels.id, { kind: "endpoint", source: "export default () => 1" }),
    ]) {
      const error = await refusal(change());
      expect([error.status, error.code]).toEqual([409, "conflict"]);
      expect(error.problem?.detail).toContain("main, tags");
      expect(error.problem?.imported_by).toEqual([ref(script), ref(tags)]);
    }
    const routed = await refusal(client.scripts.update(script.id, { kind: "module", source: "" }));
    expect([routed.status, routed.problem?.routes]).toEqual([409, 1]);
    await client.apps.delete(app, { force: true });
    expect((await refusal(client.scripts.imports(script.id))).status).toBe(404);
  });

  test("are for whoever may read, of scripts that exist", async () => {
    const app = await newApp();
    const { id } = await module(app, "labels", "export const a = 1;");
    for (const part of ["imports", "imported-by"]) {
      const url = (of: string): string => `${server.url}/api/v1/admin/scripts/${of}/${part}`;
      expect((await fetch(url(id))).status).toBe(401);
      const headers = { authorization: `Bearer ${server.token}` };
      expect((await fetch(url(id), { headers })).status).toBe(200);
      for (const bad of [newId(), "x", "%00", "a%2Fb", "__proto__"]) {
        expect([400, 404]).toContain((await fetch(url(bad), { headers })).status);
      }
      expect((await fetch(url(id), { headers, method: "POST" })).status).toBe(405);
    }
  });
});
