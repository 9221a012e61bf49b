/**
 * Of each call of the admin API that changes something: one that succeeds, and what the audit trail has to
 * tell of it. What is secret is one of `secrets`, so that it is found wherever it should not be.
 */
import { newId } from "../../../src/base/ids.ts";
import { PicClient } from "../../../src/client.ts";
import { RETRY_DEFAULT } from "../../../src/domain/events.ts";
import { insertAccount } from "../../../src/storage/accounts.ts";
import { openDeadLetter } from "../../../src/storage/dead-letters.ts";
import { addAccount } from "../../services/credentials.ts";
import { password } from "../../services/fakes.ts";
import { ask, type serve } from "./server.ts";

/** Whose it is, and what nobody else may read in the trail or in the log. */
export const secrets = {
  password,
  newPassword: "canary-password",
  source: "// canary-source",
  value: "canary-value",
} as const;

/** A call that succeeds. */
export interface Scenario {
  params?: Record<string, string>;
  query?: Record<string, string>;
  /** A text is sent as JSON Lines. */
  body?: unknown;
  /** Absent: the owner's. Null: none is sent. */
  token?: string | null;
  /** Who is told of; absent: the owner. */
  actor_id?: string;
  /** The actions of the entries, in their order. */
  told: string[];
  /** The id of what it is about, where it is known before. */
  target?: string;
}

/** What every scenario can use. */
export type World = Awaited<ReturnType<typeof serve>>;

type Prepare = (w: World) => Promise<Scenario>;

/** It needs a server without an account, and so has a test of its own. */
export const apart = ["auth.setup"] as const;

/** No change: they read by POST, because a query has no room for what they ask. */
export const reads = [
  "routes.check",
  "routes.match",
  "docs.find",
  "docs.count",
  "docs.explain",
  "triggers.preview_cron",
] as const;

export const scenarios: Readonly<Record<string, Prepare>> = {
  "auth.login": async (w) => {
    const { actor_id, username } = await own(w);
    const body = { username, password: secrets.password };
    return { body, token: null, actor_id, told: ["auth.login"], target: actor_id };
  },
  "auth.logout": async (w) => {
    const account = await own(w);
    return { ...account, told: ["auth.logout"], target: account.actor_id };
  },
  "auth.change_password": async (w) => {
    const account = await own(w);
    const body = { old_password: secrets.password, new_password: secrets.newPassword };
    return { ...account, body, told: ["account.password"] };
  },
  "auth.end_session": async (w) => {
    const account = await own(w);
    const { items } = await clientOf(w, account.token).auth.sessions();
    const session = items[0]?.id ?? "";
    return { ...account, params: { session }, told: ["session.end"], target: session };
  },
  "auth.end_other_sessions": async (w) => {
    const account = await own(w);
    await w.sessions.create({ id: account.actor_id });
    return { ...account, told: ["session.end_others"] };
  },

  "accounts.create": async () => ({
    body: { username: "made", password: secrets.newPassword, role: "admin" },
    told: ["account.create"],
  }),
  "accounts.update": async (w) => {
    const { id } = await addAccount(w.db, "member");
    const body = { role: "admin", is_active: false, password: secrets.newPassword };
    const told = ["account.update", "account.deactivate", "account.password"];
    return { params: { id }, body, told, target: id };
  },
  "accounts.delete": async (w) => {
    const { id } = await addAccount(w.db, "admin");
    return { params: { id }, told: ["account.delete"], target: id };
  },
  "accounts.nominate": async (w) => {
    const { id } = await addAccount(w.db, "member");
    return { params: { id }, body: { role: "admin" }, told: ["nomination.create"], target: id };
  },
  "accounts.withdraw_nomination": async (w) => {
    const { id } = await nominated(w);
    return { params: { id }, told: ["nomination.withdraw"], target: id };
  },
  "accounts.approve_nomination": async (w) => {
    const { id } = await nominated(w);
    return { params: { id }, query: { role: "admin" }, told: ["nomination.approve"], target: id };
  },
  "api_keys.create": async () => ({
    body: { name: "laptop", scopes: ["script:read"] },
    told: ["api_key.create"],
  }),
  "api_keys.delete": async (w) => {
    const { id } = await w.client.apiKeys.create({ name: "old", scopes: ["log:read"] });
    return { params: { id }, told: ["api_key.delete"], target: id };
  },

  "apps.create": async () => ({ body: { slug: "made", name: "Made" }, told: ["app.create"] }),
  "apps.update": async (w) => {
    const app = await made.app(w);
    return { params: { app }, body: { name: "Other" }, told: ["app.update"], target: app };
  },
  "apps.delete": async (w) => {
    const app = await made.app(w);
    await w.client.kv.set(app, { collection: "c", key: "k", value: secrets.value });
    const query = { force: "true" };
    return { params: { app }, query, told: ["app.delete", "app.delete"], target: app };
  },
  "hosts.add": async (w) => {
    const params = { app: await made.app(w) };
    return { params, body: { host: "a.home.lan" }, told: ["host.add"], target: "a.home.lan" };
  },
  "hosts.remove": async (w) => {
    const app = await made.app(w);
    await w.client.hosts.add(app, { host: "b.home.lan" });
    const query = { host: "b.home.lan" };
    return { params: { app }, query, told: ["host.remove"], target: "b.home.lan" };
  },
  "members.put": async (w) => {
    const account = (await addAccount(w.db, "member")).id;
    const params = { app: await made.app(w), account };
    return { params, body: { role: "editor" }, told: ["member.put"], target: account };
  },
  "members.delete": async (w) => {
    const app = await made.app(w);
    const account = (await addAccount(w.db, "member", { [app]: "viewer" })).id;
    return { params: { app, account }, told: ["member.delete"], target: account };
  },

  "scripts.create": async () => ({
    body: { name: "made", source: secrets.source },
    told: ["script.create"],
  }),
  "scripts.update": async (w) => {
    const { id } = await made.script(w);
    const body = { name: "renamed", source: `${secrets.source} 2` };
    return { params: { id }, body, told: ["script.update"], target: id };
  },
  "scripts.rollback": async (w) => {
    const { id } = await made.script(w);
    await w.client.scripts.update(id, { source: "" });
    return { params: { id }, body: { version: 1 }, told: ["script.rollback"], target: id };
  },
  "scripts.delete": async (w) => {
    const { id, app_id } = await made.script(w);
    await letter(w, { app_id, script_id: id });
    return { params: { id }, told: ["script.delete", "script.delete"], target: id };
  },
  "routes.create": async (w) => {
    const { id } = await made.script(w);
    return { params: { id }, body: { path: "/made" }, told: ["route.create"] };
  },
  "routes.delete": async (w) => {
    const { id: script_id } = await made.script(w);
    const { id } = await w.client.routes.create(script_id, { path: "/gone" });
    return { params: { id }, told: ["route.delete"], target: id };
  },
  "deployments.create": async (w) => {
    const app = await made.app(w);
    const { id } = await w.client.scripts.create({ app, name: "gone", source: secrets.source });
    await w.client.routes.create(id, { path: "/gone" });
    const routes = [{ path: "/deployed" }];
    const triggers = [{ kind: "cron", expression: "0 0 3 * * *" }];
    const script = { name: "deployed", source: secrets.source, routes, triggers };
    const fresh = ["script.create", "route.create", "trigger.create"];
    const told = ["route.delete", ...fresh, "script.delete"];
    const body = { scripts: [script], prune: true };
    return { params: { app }, body, told: [...told, "deployment.create"] };
  },
  ...ofTriggers("kv", { collection: "orders" }),
  ...ofTriggers("docs", {}),
  ...ofTriggers("cron", { expression: "0 0 3 * * *" }),
  ...ofTriggers("dead_letter", {}),

  "dead_letters.replay": async (w) => {
    const id = await letter(w);
    return { params: { ...inDefault, id }, body: {}, told: ["dead_letter.replay"], target: id };
  },
  "dead_letters.resolve": async (w) => {
    const id = await letter(w);
    return { params: { ...inDefault, id }, body: {}, told: ["dead_letter.resolve"], target: id };
  },
  "dead_letters.replay_all": async (w) => {
    await letter(w);
    return { params: inDefault, body: { filter: {} }, told: ["dead_letter.replay_all"] };
  },
  "dead_letters.resolve_all": async (w) => {
    await letter(w);
    return { params: inDefault, body: { filter: {} }, told: ["dead_letter.resolve_all"] };
  },
  "dead_letters.purge": async (w) => {
    await letter(w);
    const body = { before: "2999-01-01T00:00:00Z", state: "open" };
    return { params: inDefault, body, told: ["dead_letter.purge"] };
  },

  "kv.set": async () => {
    const body = { collection: "c", key: "set", value: secrets.value };
    return { params: inDefault, body, told: ["kv.set"], target: "set" };
  },
  "kv.delete": async (w) => {
    const key = await made.entry(w);
    const query = { collection: "c", key };
    return { params: inDefault, query, told: ["kv.delete"], target: key };
  },
  "kv.clear": async (w) => {
    await made.entry(w);
    const query = { collection: "c", confirm: "c" };
    return { params: inDefault, query, told: ["kv.clear"], target: "c" };
  },
  "kv.import": async () => {
    const body = JSON.stringify({ collection: "i", key: "k", value: secrets.value });
    return { params: inDefault, body, told: ["kv.import"], target: "*" };
  },
  "docs.insert": async () => {
    const body = { collection: "c", value: { text: secrets.value } };
    return { params: inDefault, body, told: ["docs.insert"] };
  },
  "docs.replace": async (w) => {
    const id = await made.document(w);
    const body = { collection: "c", id, value: { other: secrets.value } };
    return { params: inDefault, body, told: ["docs.replace"], target: id };
  },
  "docs.patch": async (w) => {
    const id = await made.document(w);
    const body = { collection: "c", id, patch: { more: secrets.value } };
    return { params: inDefault, body, told: ["docs.patch"], target: id };
  },
  "docs.delete": async (w) => {
    const id = await made.document(w);
    const query = { collection: "c", id };
    return { params: inDefault, query, told: ["docs.delete"], target: id };
  },
  "docs.clear": async (w) => {
    await made.document(w);
    const query = { collection: "c", confirm: "c" };
    return { params: inDefault, query, told: ["docs.clear"], target: "c" };
  },
  "docs.createIndex": async () => {
    const body = { collection: "c", field: "made" };
    return { params: inDefault, body, told: ["docs.create_index"], target: "made" };
  },
  "docs.dropIndex": async (w) => {
    const query = { collection: "c", field: "gone" };
    await w.client.docs.createIndex("default", query);
    return { params: inDefault, query, told: ["docs.drop_index"], target: "gone" };
  },
  "docs.import": async () => {
    const value = { id: newId(), text: secrets.value };
    const body = JSON.stringify({ collection: "i", value });
    return { params: inDefault, body, query: {}, told: ["docs.import"], target: "*" };
  },
};

/** Reads that are told of all the same: they carry the data out. */
export const exports: Readonly<Record<string, Prepare>> = {
  "kv.export": async () => ({ params: inDefault, told: ["kv.export"], target: "*" }),
  "docs.export": async () => {
    return { params: inDefault, query: { collection: "c" }, told: ["docs.export"], target: "c" };
  },
};

const inDefault = { app: "default" };

let count = 0;

/** What a call changes or deletes, under a name of its own. */
const made = {
  app: async (w: World): Promise<string> => {
    count += 1;
    return (await w.client.apps.create({ slug: `app-${count}`, name: "An app" })).id;
  },
  script: (w: World) => {
    count += 1;
    return w.client.scripts.create({ name: `script-${count}`, source: secrets.source });
  },
  entry: async (w: World): Promise<string> => {
    count += 1;
    const key = `key-${count}`;
    await w.client.kv.set("default", { collection: "c", key, value: secrets.value });
    return key;
  },
  document: async (w: World): Promise<string> =>
    (await w.client.docs.insert("default", { collection: "c", value: { text: secrets.value } })).id,
};

function clientOf(w: World, token: string): PicClient {
  return new PicClient({ base_url: w.publicUrl, token });
}

/** An account that knows its password, and a session of it. */
async function own(w: World) {
  count += 1;
  const [id, username] = [newId(), `own-${count}`];
  if (w.account === null) throw new Error("The server has no account");
  const account = { ...w.account, id, username };
  await w.db.tx((tx) => insertAccount(tx, account));
  const { token } = await w.sessions.create(account);
  return { actor_id: id, username, token };
}

async function nominated(w: World): Promise<{ id: string }> {
  const { id } = await addAccount(w.db, "member");
  await w.client.accounts.nominate(id, { role: "admin" });
  return { id };
}

async function letter(w: World, script?: { app_id: string; script_id: string }): Promise<string> {
  const { app_id, id: script_id } =
    script === undefined ? await made.script(w) : { ...script, id: script.script_id };
  const id = newId();
  await w.db.tx((tx) =>
    openDeadLetter(tx, {
      id,
      app_id,
      event_id: id,
      trigger_id: "trigger",
      script_id,
      source: "kv",
      type: "insert",
      state: "open",
      attempts: 5,
      error: { status: "error", code: null, message: secrets.value },
      depth: 1,
      root_execution_id: "root",
      event_at: 1,
      created_at: 1,
      updated_at: 1,
      resolved_by: null,
      note: null,
      retry: { ...RETRY_DEFAULT },
      payload: JSON.stringify({ collection: "c", key: "k", value: secrets.value, previous: null }),
    }),
  );
  return id;
}

/** The three changes of triggers of a kind. */
function ofTriggers(
  kind: "kv" | "docs" | "cron" | "dead_letter",
  settings: { collection?: string; expression?: string },
): Record<string, Prepare> {
  const make = async (w: World) => {
    const { id: script_id } = await made.script(w);
    const { token } = w;
    const url = `${w.publicUrl}/api/v1/admin/apps/default/triggers/${kind}`;
    const { json } = await ask(url, "POST", { token, body: { script_id, ...settings } });
    return { ...inDefault, id: json.id as string };
  };
  return {
    [`triggers.create_${kind}`]: async (w) => {
      const { id: script_id } = await made.script(w);
      return { params: inDefault, body: { script_id, ...settings }, told: ["trigger.create"] };
    },
    [`triggers.update_${kind}`]: async (w) => {
      const params = await make(w);
      return { params, body: { enabled: false }, told: ["trigger.update"], target: params.id };
    },
    [`triggers.delete_${kind}`]: async (w) => {
      const params = await make(w);
      return { params, told: ["trigger.delete"], target: params.id };
    },
  };
}
