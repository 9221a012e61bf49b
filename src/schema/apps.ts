/** Apps on the wire. */
import { nameCharsMax } from "../domain/limits.ts";
import { type } from "./arktype.ts";

export const app = type({
  id: "string",
  slug: "string",
  name: "string",
  created_at: "string",
  /** The caller's. */
  role: "'admin' | 'editor' | 'viewer'",
});
export type WireApp = typeof app.infer;

export const appInput = type({
  "+": "reject",
  slug: "1 <= string <= 63",
  name: `1 <= string <= ${nameCharsMax}`,
});
export type AppInput = typeof appInput.infer;

/** What is absent stays. */
export const appPatch = type({
  "+": "reject",
  "slug?": "1 <= string <= 63",
  "name?": `1 <= string <= ${nameCharsMax}`,
});
export type AppPatch = typeof appPatch.infer;

export const appPage = type({ items: app.array(), next_cursor: "string | null" });

/** `force=true` deletes an app together with what is in it. */
export const appDeleteQuery = type({ "+": "reject", "force?": "'true' | 'false'" });
