/**
 * A call is let in before its body has arrived. Whoever holds one open, and is shut out meanwhile, gets
 * nothing out of it: no way back in, no more writes, no more data.
 */
import { expect, test } from "bun:test";
import { connect } from "node:net";
import { judgedForMs } from "../../../src/domain/limits.ts";
import { addAccount, addKey } from "../../services/credentials.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";

/** A server whose calls are judged long after they were let in, and an app with an admin of its own. */
async function ready() {
  let now = 0;
  let letIn = Promise.withResolvers<void>();
  const t = await serve({
    monotonic: () => now,
    afterAuthentication: async () => letIn.resolve(),
  });
  const app = await t.client.apps.create({ slug: "blog", name: "Blog" });
  const member = await addAccount(t.db, "member", { [app.id]: "admin" });
  const { token } = await t.sessions.create(member);
  return {
    ...t,
    member,
    memberToken: token,
    later: () => {
      now += judgedForMs;
    },
    /** Resolves when the next call has been let in. */
    nextLetIn: () => {
      letIn = Promise.withResolvers<void>();
      return letIn.promise;
    },
    [Symbol.asyncDispose]: t[Symbol.asyncDispose],
  };
}

type Ready = Awaited<ReturnType<typeof ready>>;

/** A call of which only the first byte of the body is sent. `finish` sends the rest; resolves to the answer. */
async function held(
  t: Ready,
  sent: { token: string; method: string; path: string; body: string; type?: string },
): Promise<{ finish: () => Promise<{ status: number; isWhole: boolean }> }> {
  const { port, hostname } = new URL(t.publicUrl);
  const socket = connect(Number(port), hostname);
  const gone = Promise.withResolvers<string>();
  let text = "";
  socket.on("data", (data) => {
    text += data.toString();
  });
  socket.on("close", () => gone.resolve(text));
  const letIn = t.nextLetIn();
  socket.write(
    `${sent.method} ${api}${sent.path} HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n` +
      `Authorization: Bearer ${sent.token}\r\nContent-Type: ${sent.type ?? "application/json"}\r\n` +
      `Content-Length: ${sent.body.length}\r\n\r\n${sent.body.slice(0, 1)}`,
  );
  await letIn;
  return {
    finish: async () => {
      socket.write(sent.body.slice(1));
      const answer = await gone.promise;
      const isChunked = /^transfer-encoding: chunked/im.test(answer);
      return {
        status: Number(answer.split(" ")[1]),
        isWhole: answer.endsWith("\r\n0\r\n\r\n") || (!isChunked && answer.includes("\r\n\r\n")),
      };
    },
  };
}

const rejoin = { method: "PUT", body: JSON.stringify({ role: "admin" }) };

test.each([
  ["at once", false],
  ["after a while", true],
])(
  "who is removed from an app does not put themselves back with a call held open, %s",
  async (_, isLate) => {
    await using t = await ready();
    const path = `/apps/blog/members/${t.member.id}`;
    const call = await held(t, { ...rejoin, path, token: t.memberToken });
    await t.client.members.delete("blog", t.member.id);
    if (isLate) t.later();
    expect((await call.finish()).status).toBe(404);
    expect((await t.client.members.list("blog")).items).toEqual([]);
  },
);

test("a session that has ended makes no account with a call held open", async () => {
  await using t = await ready();
  const { token } = await t.sessions.create(t.account as NonNullable<typeof t.account>);
  const body = JSON.stringify({ username: "eve", password: "a long password", role: "owner" });
  const call = await held(t, { method: "POST", path: "/accounts", body, token });
  await ask(`${t.publicUrl}${api}/auth/sessions`, "DELETE", { token: t.token });
  expect((await call.finish()).status).toBe(401);
});

test("a key that was revoked or demoted makes no member with a call held open", async () => {
  await using t = await ready();
  const { id, raw } = await addKey(t.db, t.account as NonNullable<typeof t.account>);
  const path = `/apps/blog/members/${t.member.id}`;
  const call = await held(t, { ...rejoin, path, token: raw });
  await ask(`${t.publicUrl}${api}/api-keys/${id}`, "DELETE", { token: t.token });
  expect((await call.finish()).status).toBe(401);
});

test("any call whose body comes late is judged again", async () => {
  await using t = await ready();
  const body = JSON.stringify({ name: "Mine" });
  const asked = { method: "PATCH", path: "/apps/blog", body, token: t.memberToken };
  const call = await held(t, asked);
  await t.client.members.put("blog", t.member.id, { role: "editor" });
  t.later();
  expect((await call.finish()).status).toBe(403);
  expect((await t.client.apps.get("blog")).name).toBe("Blog");
});

test("by the app that it was let in for, whoever has its slug by then", async () => {
  await using t = await ready();
  const body = JSON.stringify({ name: "New" });
  const asked = { method: "PATCH", path: "/apps/blog", body, token: t.memberToken };
  const call = await held(t, asked);
  await t.client.apps.update("blog", { slug: "old" });
  await t.client.apps.create({ slug: "blog", name: "Another" });
  t.later();
  expect((await call.finish()).status).toBe(200);
  expect((await t.client.apps.get("blog")).name).toBe("Another");
  expect((await t.client.apps.get("old")).name).toBe("New");
});

test("an import ends when its sender is switched off", async () => {
  await using t = await ready();
  const body = '{"collection":"c","key":"a","value":1}\n{"collection":"c","key":"b","value":2}\n';
  const type = "application/x-ndjson";
  const asked = { method: "POST", path: "/apps/blog/kv/import?mode=merge", body, type };
  const call = await held(t, { ...asked, token: t.memberToken });
  await t.client.accounts.update(t.member.id, { is_active: false });
  t.later();
  expect((await call.finish()).status).toBe(401);
  expect((await t.client.kv.collections("blog")).items).toEqual([]);
});

test("an export ends, and its place is free, when its reader is removed", async () => {
  await using t = await ready();
  const path = "/apps/blog/kv/export";
  await t.client.kv.set("blog", { collection: "c", key: "k", value: 1 });
  // One more than there are places.
  for (let round = 0; round < 5; round += 1) {
    await t.client.members.put("blog", t.member.id, { role: "viewer" });
    let removed: Promise<unknown> | null = null;
    const spied = t.transfer.export.bind(t.transfer);
    t.transfer.export = async (...call) => {
      const found = await spied(...call);
      removed ??= t.client.members.delete("blog", t.member.id);
      await removed;
      t.later();
      return found;
    };
    const call = await held(t, { method: "GET", path, body: "", token: t.memberToken });
    expect(await call.finish()).toEqual({ status: 200, isWhole: false });
    t.transfer.export = spied;
  }
  const whole = await held(t, { method: "GET", path, body: "", token: t.token });
  expect(await whole.finish()).toEqual({ status: 200, isWhole: true });
});
