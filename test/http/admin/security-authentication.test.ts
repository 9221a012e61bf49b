/** What a hostile page in the owner's browser can do with the cookie that the browser sends by itself. */
import { describe, expect, test } from "bun:test";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";
const body = { slug: "blog", name: "Blog" };

describe("a page of a script, on the public address", () => {
  test("changes nothing with the owner's cookie, though its address is the configured one", async () => {
    const publicBaseUrl = "https://pi.example";
    await using t = await serve({ publicBaseUrl });
    const cookie = `picloud_session=${t.token}`;
    for (const headers of [
      { cookie, origin: publicBaseUrl },
      { cookie, origin: publicBaseUrl, "sec-fetch-site": "same-site" },
      { cookie, origin: publicBaseUrl, "sec-fetch-site": "cross-site" },
    ]) {
      expect((await ask(`${t.adminUrl}${api}/apps`, "POST", { headers, body })).status).toBe(403);
      // A POST without a body needs no preflight.
      expect((await ask(`${t.adminUrl}${api}/auth/logout`, "POST", { headers })).status).toBe(403);
    }
    expect((await t.client.auth.me()).username).toBe("ada");
  });

  test("cannot put the owner into its own session with a second cookie", async () => {
    await using t = await serve();
    const own = `picloud_session=${t.token}`;
    const { token: foreign } = await t.sessions.create(t.account as NonNullable<typeof t.account>);
    const tossed = `picloud_session=${foreign}`;
    const me = async (cookie: string): Promise<number> =>
      (await ask(`${t.adminUrl}${api}/auth/me`, "GET", { headers: { cookie } })).status;
    expect(await me(own)).toBe(200);
    expect(await me(`${tossed}; ${own}`)).toBe(401);
    expect(await me(`${own}; a=b; ${tossed}`)).toBe(401);
    expect(await me(`${own}; ${own}`)).toBe(200);
  });
});
