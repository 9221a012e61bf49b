/** API keys on the wire. */
import { SCOPES } from "../domain/access.ts";
import { nameCharsMax } from "../domain/limits.ts";
import { type } from "./arktype.ts";

const scope = type.enumerated(...SCOPES);

export const apiKey = type({
  id: "string",
  account_id: "string",
  username: "string",
  name: "string",
  /** The first eight characters after `pic_`. */
  prefix: "string",
  scopes: scope.array(),
  /** Null: not bound to an app. */
  app_id: "string | null",
  /** Its slug; null also when whoever asks does not see the app any more. */
  app: "string | null",
  created_at: "string",
  /** Null: never. */
  expires_at: "string | null",
  is_expired: "boolean",
  /** Null: not yet. At most a minute late. */
  last_used_at: "string | null",
});
export type WireApiKey = typeof apiKey.infer;

/** `raw_token` is the key itself, and in no other answer. */
export const createdApiKey = apiKey.merge({ raw_token: "string" });
export type WireCreatedApiKey = typeof createdApiKey.infer;

export const apiKeyPage = type({ items: apiKey.array(), next_cursor: "string | null" });

export const apiKeyInput = type({
  "+": "reject",
  name: `1 <= string <= ${nameCharsMax}`,
  scopes: scope.array().atLeastLength(1).atMostLength(64),
  /** Id or slug. Absent or null: for every app of the account. */
  "app?": "1 <= string <= 64 | null",
  /** ISO 8601, with its zone. Absent or null: never. */
  "expires_at?": "1 <= string <= 64 | null",
});
export type ApiKeyInput = typeof apiKeyInput.infer;

/** `app`: the keys that are bound to it. `account`: those of somebody else. */
export const apiKeyQuery = type({
  "+": "reject",
  "app?": "1 <= string <= 64",
  "account?": "1 <= string <= 64",
  "limit?": "string",
  "cursor?": "string <= 1024",
});
export type ApiKeyFilterInput = { app?: string; account?: string };

/** The key that asks. */
export const actingKey = type({
  id: "string",
  prefix: "string",
  scopes: scope.array(),
  app_id: "string | null",
  expires_at: "string | null",
});
