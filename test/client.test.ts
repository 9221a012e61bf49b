import { describe, expect, test } from "bun:test";
import { PicClient, PicClientError } from "../src/client.ts";

function setup(answer: () => Response) {
  const requests: Request[] = [];
  const client = new PicClient({
    base_url: "http://pi:8080/",
    token: "pcs_x",
    fetch: (request) => {
      requests.push(request);
      return Promise.resolve(answer());
    },
  });
  return { client, requests };
}

describe("the client", () => {
  test("asks with its token, and escapes what stands in an address", async () => {
    const t = setup(() => Response.json({ items: [], next_cursor: null }));
    await t.client.scripts.list({ app: "a&b", limit: 5, cursor: null });
    await t.client.scripts.versions("a/b?c");
    expect(t.requests.map((request) => request.url)).toEqual([
      "http://pi:8080/api/v1/admin/scripts?app=a%26b&limit=5",
      "http://pi:8080/api/v1/admin/scripts/a%2Fb%3Fc/versions",
    ]);
    expect(t.requests[0]?.headers.get("authorization")).toBe("Bearer pcs_x");
  });

  test.each(["", ".", ".."])("asks of nothing else when it is asked of %j", async (name) => {
    const t = setup(() => new Response(null, { status: 204 }));
    await t.client.members.delete("blog", name);
    await t.client.apps.delete(name);
    expect(t.requests.map((request) => request.url)).toEqual([
      "http://pi:8080/api/v1/admin/apps/blog/members/%25",
      "http://pi:8080/api/v1/admin/apps/%25",
    ]);
  });

  test("forgets its token with logout", async () => {
    const t = setup(() => new Response(null, { status: 204 }));
    await t.client.auth.logout();
    await t.client.apps.delete("blog");
    expect(t.requests[1]?.headers.get("authorization")).toBeNull();
  });

  test.each([
    () => new Response("<h1>Bad Gateway</h1>", { status: 502 }),
    () =>
      new Response("{", {
        status: 502,
        headers: { "content-type": "application/problem+json" },
      }),
  ])("fails with the status when the answer is no problem document", async (answer) => {
    const t = setup(answer);
    const error = await t.client.apps.list().catch((failure) => failure);
    expect(error).toBeInstanceOf(PicClientError);
    expect([error.status, error.code, error.problem]).toEqual([502, "unknown", null]);
  });
});
