/** An owner who is signed in to a server of their own, and what their commands print. */
import { expect } from "bun:test";
import { serve } from "../http/admin/server.ts";
import { newUser, type User } from "./pic-runs.ts";

/** Where the servers of these tests stand still in time. */
export const now = () => Date.parse("2030-01-01T00:00:00Z");
const id = /[0-9a-f]{8}-[0-9a-f-]{27}/g;

/** A server with an owner, ada, who is signed in. */
export async function signedIn() {
  const t = await serve();
  const user = newUser({ env: { PICLOUD_URL: t.publicUrl, PICLOUD_TOKEN: t.token }, now });
  return {
    ...t,
    user,
    async [Symbol.asyncDispose]() {
      user[Symbol.dispose]();
      await t[Symbol.asyncDispose]();
    },
  };
}

/** Standard output of a command that is done. */
export async function done(user: User, args: string[], input: string | string[] = "") {
  const { code, out, err } = await user.pic(args, { input });
  expect({ args, code, err: code === 0 ? "" : err }).toEqual({ args, code: 0, err: "" });
  return out;
}

export async function table(user: User, args: string[]) {
  return (await done(user, [...args, "--output", "table"])).replace(id, "<id>");
}
