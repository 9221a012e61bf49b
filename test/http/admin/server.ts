/** The admin API on two real listeners, over a real database. */
import { newId } from "../../../src/base/ids.ts";
import { type Logger, silentLogger } from "../../../src/base/log.ts";
import { PicClient } from "../../../src/client.ts";
import type { ErrorCode } from "../../../src/domain/errors.ts";
import { createAdminApp } from "../../../src/http/admin/app.ts";
import type { Listener } from "../../../src/http/admin/endpoint.ts";
import { problemSchemas } from "../../../src/http/admin/openapi-problems.ts";
import { settled } from "../../../src/services/durability.ts";
import { firstAccount, setup } from "../../services/fakes.ts";

export interface ServeOptions {
  publicBaseUrl?: string | null;
  /** Without: no account yet. */
  account?: boolean;
  log?: Logger;
  monotonic?: () => number;
  /** Between the judgement of a call and its handler. */
  afterAuthentication?: () => Promise<void>;
}

/** `await using` stops the listeners and removes the database. */
export async function serve(options: ServeOptions = {}) {
  const t = await setup();
  const account = options.account === false ? null : await firstAccount(t.accounts);
  const app = await createAdminApp({
    accounts: t.accounts,
    accountAdmin: t.accountAdmin,
    nominations: t.nominations,
    sessions: t.sessions,
    apiKeys: t.apiKeys,
    apps: t.apps,
    hosts: t.hosts,
    members: t.members,
    scripts: t.scripts,
    routes: t.routes,
    triggers: t.triggers,
    deployments: t.deployments,
    deadLetters: t.deadLetters,
    executions: t.executions,
    kv: t.kv,
    docs: t.docs,
    transfer: t.transfer,
    audit: t.audit,
    authenticate: async (...call) => {
      const found = await t.authentication.authenticate(...call);
      await options.afterAuthentication?.();
      return found;
    },
    settled: () => settled(t.db),
    log: options.log ?? silentLogger,
    newId,
    monotonic: options.monotonic ?? (() => t.clock.monotonic()),
    publicBaseUrl: options.publicBaseUrl ?? null,
    checkOutputs: true,
  });
  const listen = (listener: Listener) =>
    Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request, server) =>
        app.handle(request, {
          listener,
          remote_address: server.requestIP(request)?.address ?? "",
        }),
    });
  const publicServer = listen("public");
  const adminServer = listen("admin");
  const publicUrl = `http://127.0.0.1:${publicServer.port}`;
  const adminUrl = `http://127.0.0.1:${adminServer.port}`;
  const token = account === null ? "" : (await t.sessions.create(account)).token;
  return {
    ...t,
    app,
    account,
    token,
    publicUrl,
    adminUrl,
    client: new PicClient({ base_url: publicUrl, token }),
    anonymous: new PicClient({ base_url: publicUrl }),
    async [Symbol.asyncDispose]() {
      await Promise.all([publicServer.stop(true), adminServer.stop(true)]);
      await t[Symbol.asyncDispose]();
    },
  };
}

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: an answer is judged by the test that reads it
  json: any;
}

/** A request as a stranger could make it. A body that is no text is sent as JSON. */
export async function ask(
  url: string,
  method: string,
  sent: { headers?: Record<string, string>; body?: unknown; token?: string } = {},
): Promise<Answer> {
  const headers: Record<string, string> = { ...sent.headers };
  if (sent.token !== undefined) headers.authorization = `Bearer ${sent.token}`;
  if (sent.body !== undefined) headers["content-type"] ??= "application/json";
  const text = typeof sent.body === "string" ? sent.body : JSON.stringify(sent.body);
  const response = await fetch(url, {
    method,
    headers,
    redirect: "manual",
    ...(sent.body === undefined ? {} : { body: text }),
  });
  const answer = await response.text();
  const isJson = answer !== "" && response.headers.get("content-type")?.includes("json") === true;
  const json = isJson ? JSON.parse(answer) : null;
  const isProblem = response.headers.get("content-type") === "application/problem+json";
  if (isProblem && method !== "HEAD") checkProblem(json);
  return { status: response.status, headers: response.headers, text: answer, json };
}

/** Every failure is as the API's document says it. 405 is no answer of a call. */
function checkProblem(json: { code: ErrorCode }): void {
  if (json.code === "method_not_allowed") return;
  for (const { schema } of problemSchemas([json.code])) {
    if (schema(json) !== json) throw new Error(`not what the document says: ${schema(json)}`);
  }
}
