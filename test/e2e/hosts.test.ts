/** Two apps and their hosts: what a request reaches, by the Host that it names. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { exchange } from "../http/gateway-fixture.ts";
import { startServer, type TestServer } from "./server.ts";
import { refusal } from "./steps.ts";

/** Owns the data folder; `server` is the one that runs on it. */
let first: TestServer;
let server: TestServer;

beforeAll(async () => {
  first = await startServer();
  server = first;
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
});

const source = (who: string): string =>
  `export default ({ request }) => [${JSON.stringify(who)}, request.host];`;

/** Status and body of what a host answers; with 405 what is allowed. */
async function ask(
  host: string,
  path: string,
  method = "GET",
): Promise<[number, string | undefined]> {
  const port = Number(new URL(server.url).port);
  const head = `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  const { status, headers, body } = await exchange(port, head);
  return [status, status === 405 ? headers.allow : status === 200 ? body : undefined];
}

test("an app alone serves on its hosts, and the others everywhere else", async () => {
  const { client } = server;
  const { apps, hosts, routes, scripts } = client;
  const make = async (slug: string) => {
    const app = await apps.create({ slug, name: slug });
    const script = await scripts.create({ app: slug, name: slug, source: source(slug) });
    return { app, script };
  };
  const blog = await make("blog");
  const shop = await make("shop");
  await routes.create(blog.script.id, { path: "/post", method: "GET" });
  await routes.create(shop.script.id, { path: "/*" });
  await routes.create(shop.script.id, { path: "/cart", host: "*.home.lan", method: "POST" });

  expect(await ask("blog.home.lan", "/other")).toEqual([200, '["shop","blog.home.lan"]']);
  const given = await hosts.add("blog", { host: "Blog.Home.LAN." });
  expect(given).toMatchObject({ host: "blog.home.lan", app_id: blog.app.id });
  await hosts.add("blog", { host: "*.bücher.example" });
  expect((await hosts.list("blog")).items.map(({ host }) => host)).toEqual([
    "*.xn--bcher-kva.example",
    "blog.home.lan",
  ]);

  for (const host of ["blog.home.lan", "BLOG.home.LAN.", "blog.home.lan:8080"]) {
    expect(await ask(host, "/post")).toEqual([200, '["blog","blog.home.lan"]']);
    expect(await ask(host, "/other")).toEqual([404, undefined]);
    expect(await ask(host, "/cart", "POST")).toEqual([404, undefined]);
    expect(await ask(host, "/post", "DELETE")).toEqual([405, "GET, HEAD"]);
  }
  const bare = "xn--bcher-kva.example";
  expect(await ask(`a.b.${bare}`, "/post")).toEqual([200, `["blog","a.b.${bare}"]`]);
  expect(await ask(`a.b.${bare}`, "/other")).toEqual([404, undefined]);
  expect(await ask(bare, "/other")).toEqual([200, `["shop","${bare}"]`]);
  for (const host of ["xblog.home.lan", "blog.home.lan.evil", "home.lan", "a.blog.home.lan"]) {
    expect(await ask(host, "/other")).toEqual([200, `["shop","${host}"]`]);
  }
  expect((await ask("b\u00fccher.example", "/post"))[0]).toBe(400);

  const url = "http://blog.home.lan/other";
  expect(await routes.match({ method: "GET", url })).toMatchObject({ route: null, hidden: false });
  const wanted = { path: "/new", host: "blog.home.lan" };
  const refused = await refusal(routes.create(shop.script.id, wanted));
  expect([refused.status, refused.code]).toEqual([409, "conflict"]);
  expect(refused.message).toBe("The host blog.home.lan belongs to the app blog, as blog.home.lan");
  expect(await routes.check({ ...wanted, script_id: shop.script.id })).toMatchObject({
    ok: false,
    host_taken: true,
    host_app_id: blog.app.id,
  });
  expect(await routes.check({ ...wanted, script_id: blog.script.id })).toMatchObject({ ok: true });
  const cart = await refusal(hosts.add("blog", { host: "*.home.lan" }));
  expect([cart.status, cart.problem?.routes]).toEqual([409, 1]);
  expect(cart.problem?.conflicting_routes).toMatchObject([{ path: "/cart" }]);
  expect((await refusal(hosts.add("blog", { host: "*.*" }))).status).toBe(422);
  expect((await refusal(hosts.remove("shop", "blog.home.lan"))).status).toBe(404);
});

test("hosts outlive a restart and a new slug, and go with their app", async () => {
  await first.stop();
  server = await startServer({ dataDir: first.dataDir });
  const { apps, hosts } = server.client;
  expect(await ask("blog.home.lan", "/other")).toEqual([404, undefined]);
  expect(await apps.update("blog", { slug: "journal" })).toMatchObject({ slug: "journal" });
  expect((await refusal(apps.get("blog"))).status).toBe(404);
  expect((await refusal(apps.update("journal", { slug: "shop" }))).status).toBe(409);
  expect(await ask("blog.home.lan", "/post")).toEqual([200, '["blog","blog.home.lan"]']);
  await hosts.remove("journal", "*.BÜCHER.example");
  expect((await ask("a.xn--bcher-kva.example", "/other"))[0]).toBe(200);
  const kept = await refusal(apps.delete("journal"));
  expect(kept.problem?.would_delete).toMatchObject({ scripts: 1, routes: 1, hosts: 1 });
  await apps.delete("journal", { force: true });
  expect(await ask("blog.home.lan", "/other")).toEqual([200, '["shop","blog.home.lan"]']);
  await hosts.add("shop", { host: "blog.home.lan" });
  expect((await hosts.list("shop")).items).toHaveLength(1);
});
