/** The page of the API's document in a real browser: it shows the calls, and asks no other machine. */
import { describe, expect, test } from "bun:test";
import type { Page } from "playwright-core";
import { adminLogin, startServer, type TestServer } from "../e2e/server.ts";
import { useBrowser } from "./browser.ts";

const stepMsMax = 15_000;
/** As a Pi is called at home: on localhost Swagger UI leaves some of its requests away by itself. */
const host = "raspberrypi.test";

const chromium = useBrowser([`--host-resolver-rules=MAP ${host} 127.0.0.1`]);

interface Visit extends AsyncDisposable {
  page: Page;
  origin: string;
  /** Addresses that were asked for, of this server. */
  asked: string[];
  /** Errors, what the policy refused, requests to elsewhere. */
  complaints: string[];
}

/** The page in a window of its own, without cookies. */
async function visit(server: TestServer, query = ""): Promise<Visit> {
  const origin = `http://${host}:${new URL(server.adminUrl).port}`;
  const context = await chromium.browser.newContext({ viewport: { width: 1100, height: 900 } });
  context.setDefaultTimeout(stepMsMax);
  const page = await context.newPage();
  const asked: string[] = [];
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() !== "log") complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol === "data:") return;
    if (url.origin === origin) asked.push(url.pathname);
    else complaints.push(`to ${url}`);
  });
  await page.goto(`${origin}/admin/api/${query}`);
  await page.locator(".opblock").first().waitFor();
  return { page, origin, asked, complaints, [Symbol.asyncDispose]: () => context.close() };
}

async function shoot(page: Page, name: string): Promise<void> {
  await chromium.screenshot(page, name);
}

/** Opens the block of the call at an address that has no other. */
async function open(page: Page, path: string): Promise<ReturnType<Page["locator"]>> {
  const block = page.locator(".opblock", { has: page.locator(`[data-path="${path}"]`) });
  await block.locator(".opblock-summary-control").click();
  await block.locator(".opblock-body").waitFor();
  return block;
}

describe("the page of the API", () => {
  test("shows every call of the document, and everything comes from this server", async () => {
    await using server = await startServer({ anonymous: true });
    await using window = await visit(server);
    const { page } = window;
    const answer = await fetch(`${server.adminUrl}/api/v1/admin/openapi.json`);
    const document = (await answer.json()) as { paths: Record<string, object> };
    const calls = Object.values(document.paths).flatMap(Object.keys);
    expect(await page.locator(".opblock").count()).toBe(calls.length);
    expect(await page.locator(".info .title").textContent()).toContain("PiCloud");
    const login = await open(page, "/api/v1/admin/auth/login");
    expect(await login.textContent()).toContain("Open a session");
    expect(await login.textContent()).toContain("correct horse battery");
    await login.getByText("invalid_credentials").first().waitFor();
    await shoot(page, "api");
    expect([...new Set(window.asked)].sort()).toEqual([
      "/admin/api/",
      "/admin/api/start.js",
      "/admin/api/swagger-ui-bundle.js",
      "/admin/api/swagger-ui.css",
      "/api/v1/admin/openapi.json",
    ]);
    expect(window.complaints).toEqual([]);
  }, 60_000);

  test("lets a person who is logged in try a call, and log in in the first place", async () => {
    await using server = await startServer({ anonymous: true });
    await using window = await visit(server);
    const { page } = window;
    const me = await open(page, "/api/v1/admin/auth/me");
    await me.getByRole("button", { name: "Try it out" }).click();
    await me.getByRole("button", { name: "Execute" }).click();
    await me.locator(".live-responses-table").getByText("unauthenticated").waitFor();

    const login = await open(page, "/api/v1/admin/auth/login");
    await login.getByRole("button", { name: "Try it out" }).click();
    await login.locator("textarea").fill(JSON.stringify(adminLogin));
    await login.getByRole("button", { name: "Execute" }).click();
    await login.locator(".live-responses-table").getByText("expires_at").first().waitFor();

    await me.getByRole("button", { name: "Execute" }).click();
    await me.locator(".live-responses-table").getByText("username").first().waitFor();
    await shoot(page, "api-tried");
    // The page keeps no token: the session is a cookie that no script can read.
    const stored = "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])";
    expect(await page.evaluate(stored)).not.toContain("pcs_");
    expect(window.complaints.filter((one) => one.startsWith("to "))).toEqual([]);
  }, 60_000);

  test("shows no other document and runs no other script, whatever its address says", async () => {
    await using server = await startServer({ anonymous: true });
    let visitors = 0;
    const evil = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => {
        visitors += 1;
        return Response.json(
          { openapi: "3.1.0", info: { title: "Evil", version: "1" }, paths: {} },
          { headers: { "access-control-allow-origin": "*" } },
        );
      },
    });
    try {
      const other = encodeURIComponent(`http://127.0.0.1:${evil.port}/x.json`);
      for (const query of [`?url=${other}`, `?configUrl=${other}`, `?urls.primaryName=${other}`]) {
        await using window = await visit(server, query);
        expect(await window.page.locator(".info .title").textContent()).toContain("PiCloud");
        await window.page.evaluate(`document.body.append(Object.assign(
          document.createElement("script"), { textContent: "window.ran = 1" }))`);
        await window.page.evaluate(`document.body.append(Object.assign(
          document.createElement("script"), { src: "http://127.0.0.1:${evil.port}/x.js" }))`);
        await window.page
          .evaluate(`fetch("http://127.0.0.1:${evil.port}/x")`)
          .then(() => window.complaints.push("fetched"))
          .catch(() => {});
        expect(await window.page.evaluate("window.ran ?? null")).toBeNull();
        expect(window.complaints).not.toContain("fetched");
      }
      expect(visitors).toBe(0);
    } finally {
      await evil.stop(true);
    }
  }, 90_000);

  test("fits a phone", async () => {
    await using server = await startServer({ anonymous: true });
    await using window = await visit(server);
    const { page } = window;
    await page.setViewportSize({ width: 390, height: 800 });
    await page.locator(".opblock").first().waitFor();
    await shoot(page, "api-phone");
    expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
  }, 60_000);
});
