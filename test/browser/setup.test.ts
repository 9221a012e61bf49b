/** The setup link and the plain page in a real browser: what a person sees, and what they cannot do wrong. */
import { describe, expect, test } from "bun:test";
import type { Page } from "playwright-core";
import { startServer, type TestServer } from "../e2e/server.ts";
import { useBrowser } from "./browser.ts";

const stepMsMax = 10_000;
const password = "a long password";

const chromium = useBrowser();

interface Visit extends AsyncDisposable {
  page: Page;
  /** What the browser complained about: errors, refused by policy, requests to elsewhere. */
  complaints: string[];
}

/** A window of its own, without cookies. */
async function visit(server: TestServer, dark = false): Promise<Visit> {
  const context = await chromium.browser.newContext({
    viewport: { width: 900, height: 760 },
    colorScheme: dark ? "dark" : "light",
  });
  context.setDefaultTimeout(stepMsMax);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    // A form that is refused is an answer of 422, which the console calls an error.
    const isAnswer = message.text().startsWith("Failed to load resource: the server responded");
    if (!isAnswer) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== server.adminUrl) complaints.push(`to ${url}`);
  });
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() };
}

function start(): Promise<TestServer> {
  return startServer({
    anonymous: true,
    env: { PICLOUD_ADMIN_USERNAME: "", PICLOUD_ADMIN_PASSWORD: "" },
  });
}

function linkOf(server: TestServer): string {
  const link = server
    .output()
    .split("\n")
    .find((line) => line.includes("/admin/setup?token="));
  if (link === undefined) throw new Error(`no setup link in:\n${server.output()}`);
  return link;
}

function shoot(page: Page, name: string): Promise<unknown> {
  return chromium.screenshot(page, name);
}

describe("the setup link", () => {
  test("leads to a form, the form to an account, and the page says what comes next", async () => {
    await using server = await start();
    await using window = await visit(server);
    const { page } = window;
    await page.goto(linkOf(server));
    expect(await page.title()).toBe("Make the first account · PiCloud");
    await shoot(page, "setup");
    await page.getByLabel("Username").fill("ada");
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Make the account" }).click();
    await page.waitForURL(`${server.adminUrl}/admin/`);
    expect(await page.getByRole("heading").textContent()).toBe("PiCloud is running");
    expect(await page.getByRole("main").textContent()).toContain("You are logged in as ada.");
    // The command on the page works as it stands, but for the password.
    const command = (await page.locator("pre").textContent()) ?? "";
    const [address = ""] = command.match(/http:\S+/) ?? [];
    const login = await fetch(address, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: (command.match(/-d '(.*)'/)?.[1] ?? "").replace("…", password),
    });
    expect(login.status).toBe(200);
    await shoot(page, "running");

    const [cookie] = await page.context().cookies();
    expect(cookie).toMatchObject({ name: "picloud_session", httpOnly: true, sameSite: "Strict" });
    expect(await page.evaluate("document.cookie")).toBe("");
    await page.goto(linkOf(server));
    expect(await page.getByRole("heading").textContent()).toBe("This setup link does not work");
    await shoot(page, "used");
    expect(window.complaints).toEqual([]);
  });

  test("a password that is too short is shown at its field by the browser itself", async () => {
    await using server = await start();
    await using window = await visit(server);
    const { page } = window;
    await page.goto(linkOf(server));
    await page.getByLabel("Username").fill("ada");
    await page.getByLabel("Password").pressSequentially("short");
    await page.getByRole("button").click();
    const said = await page.evaluate("document.querySelector('input:invalid').validationMessage");
    expect(said).toMatch(/10 characters/);
    expect(await page.evaluate("document.activeElement.id")).toBe("password");
    expect(await page.getByLabel("Password").inputValue()).toBe("short");
    expect(await page.getByLabel("Username").inputValue()).toBe("ada");
    expect(page.url()).toBe(linkOf(server));
  });

  test("what the server refuses is shown at its field, and what was typed is still there", async () => {
    await using server = await start();
    await using window = await visit(server, true);
    const { page } = window;
    await page.goto(linkOf(server));
    await page.evaluate("document.forms[0].noValidate = true");
    await page.getByLabel("Username").fill("Ada Lovelace");
    await page.getByLabel("Password").fill("short");
    await page.getByRole("button").click();
    const username = page.getByLabel("Username");
    const secret = page.getByLabel("Password");
    await page.getByRole("alert").first().waitFor();
    await shoot(page, "refused-dark");
    expect(await page.getByRole("alert").allInnerTexts()).toEqual([
      "Must be 1 to 64 of a-z, 0-9, dot, dash and underscore, beginning and ending with a letter or a digit.",
      "Must be 10 to 256 characters long.",
    ]);
    for (const [field, id] of [
      [username, "username"],
      [secret, "password"],
    ] as const) {
      expect(await field.getAttribute("aria-invalid")).toBe("true");
      expect(await field.getAttribute("aria-describedby")).toBe(`${id}-note`);
    }
    expect(await username.inputValue()).toBe("ada lovelace");
    expect(await page.evaluate("document.activeElement.id")).toBe("username");
    // A password is never sent back.
    expect(await page.content()).not.toContain("short");

    await username.fill("ada");
    await secret.fill(password);
    await page.getByRole("button").click();
    await page.waitForURL(`${server.adminUrl}/admin/`);
    expect(window.complaints).toEqual([]);
  });

  test("cannot be sent from another page, and its page runs no script", async () => {
    await using server = await start();
    await using window = await visit(server);
    const { page, complaints } = window;
    const evil = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () =>
        new Response(
          `<form method="post" action="${server.adminUrl}/admin/setup">
            <input name="token" value="${new URL(linkOf(server)).searchParams.get("token")}">
            <input name="username" value="eve"><input name="password" value="${password}">
            <button>Win</button></form><iframe src="${linkOf(server)}"></iframe>`,
          { headers: { "content-type": "text/html" } },
        ),
    });
    try {
      await page.goto(`http://localhost:${evil.port}/`);
      expect(complaints.join("\n")).toMatch(/frame-ancestors|Refused to frame|violates/);
      await page.getByRole("button", { name: "Win" }).click();
      await page.waitForURL(`${server.adminUrl}/admin/setup`);
      expect(await page.content()).toContain("The request comes from a page of another host");
    } finally {
      await evil.stop(true);
    }
    await page.goto(linkOf(server));
    await page.evaluate(
      "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))",
    );
    expect(await page.evaluate("window.ran ?? null")).toBeNull();
  });
});

test("a window that is not logged in is told how to be, also on a phone", async () => {
  await using server = await startServer();
  await using window = await visit(server);
  const { page } = window;
  await page.setViewportSize({ width: 360, height: 740 });
  await page.goto(server.adminUrl);
  expect(page.url()).toBe(`${server.adminUrl}/admin/`);
  expect(await page.getByRole("main").textContent()).toContain("You are not logged in.");
  expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
  await shoot(page, "anonymous-phone");
  expect(window.complaints).toEqual([]);
});
