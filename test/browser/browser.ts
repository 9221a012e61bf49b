/** A real browser for the tests of one file: started before the first, gone with its profile after the last. */
import { afterAll, beforeAll } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";

const executablePath = process.env.PICLOUD_TEST_CHROMIUM ?? "/usr/bin/chromium";
/** Where screenshots go; kept only when somebody names the folder. */
const kept = process.env.PICLOUD_TEST_SCREENSHOTS;
const startMsMax = 60_000;

export interface TestBrowser {
  /** Only while a test runs. */
  readonly browser: Browser;
  /** A picture of the page, also in the folder for screenshots. */
  screenshot(page: Page, name: string): Promise<Buffer>;
}

/** Call at the top level of a test file. @param args more of the browser's command line */
export function useBrowser(args: readonly string[] = []): TestBrowser {
  let browser: Browser | undefined;
  let profile = "";

  beforeAll(async () => {
    if (!existsSync(executablePath)) throw new Error(`there is no browser at ${executablePath}`);
    profile = mkdtempSync(join(tmpdir(), "picloud-browser-"));
    browser = await chromium.launch({
      executablePath,
      // Nothing of its own goes out to anybody.
      args: [
        ...args,
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
      ],
      env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
    });
  }, startMsMax);

  afterAll(async () => {
    await browser?.close();
    rmSync(profile, { recursive: true, force: true });
  });

  return {
    get browser() {
      if (browser === undefined) throw new Error("the browser has not been started");
      return browser;
    },
    screenshot: (page, name) => page.screenshot({ path: join(kept ?? profile, `${name}.png`) }),
  };
}
