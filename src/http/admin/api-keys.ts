/** `api-keys`. */
import {
  apiKey,
  apiKeyInput,
  apiKeyPage,
  apiKeyQuery,
  createdApiKey,
  type WireApiKey,
} from "../../schema/api-keys.ts";
import type { ApiKeys, ShownApiKey } from "../../services/api-keys.ts";
import { created, type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { isoTime, readTime } from "./times.ts";

export function apiKeyEndpoints(apiKeys: ApiKeys): Endpoint[] {
  return [
    endpoint({
      operation: "api_keys.create",
      method: "POST",
      path: "/api-keys",
      summary: "Make an API key for one's own account; the answer alone has the key itself",
      action: "api_key.write",
      input: { body: apiKeyInput },
      output: createdApiKey,
      status: 201,
      errors: ["not_found", "conflict"],
      handle: async ({ actor, body }) => {
        const { expires_at: text = null, ...rest } = body;
        const expires_at = text === null ? null : readTime("expires_at", text);
        const { key, raw_token } = await apiKeys.create(actor, { ...rest, expires_at });
        return created(`/api-keys/${key.id}`, { ...toApiKey(key), raw_token });
      },
    }),
    endpoint({
      operation: "api_keys.list",
      method: "GET",
      path: "/api-keys",
      summary: "One's own API keys, those bound to an app, or those of an account; newest first",
      action: "api_key.read",
      input: { query: apiKeyQuery },
      output: apiKeyPage,
      errors: ["not_found"],
      handle: async ({ actor, query, page }) => {
        const { limit: _limit, cursor: _cursor, ...asked } = query;
        const { items, next_cursor } = await apiKeys.list(actor, asked, page);
        return ok({ items: items.map(toApiKey), next_cursor });
      },
    }),
    endpoint({
      operation: "api_keys.get",
      method: "GET",
      path: "/api-keys/:id",
      summary: "One API key, without the key itself",
      action: "api_key.read",
      output: apiKey,
      errors: ["not_found"],
      handle: async ({ actor, params }) =>
        ok(toApiKey(await apiKeys.get(actor, params.id as string))),
    }),
    endpoint({
      operation: "api_keys.delete",
      method: "DELETE",
      path: "/api-keys/:id",
      summary: "Revoke an API key at once",
      action: "api_key.revoke",
      errors: ["not_found"],
      handle: async ({ actor, params }) => {
        await apiKeys.delete(actor, params.id as string);
        return none();
      },
    }),
  ];
}

function toApiKey(from: ShownApiKey): WireApiKey {
  return {
    id: from.id,
    account_id: from.account_id,
    username: from.username,
    name: from.name,
    prefix: from.prefix,
    scopes: [...from.scopes],
    app_id: from.app_id,
    app: from.app,
    created_at: isoTime(from.created_at),
    expires_at: from.expires_at === null ? null : isoTime(from.expires_at),
    is_expired: from.is_expired,
    last_used_at: from.last_used_at === null ? null : isoTime(from.last_used_at),
  };
}
