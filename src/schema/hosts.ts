/** Hosts of apps on the wire. */
import { hostCharsMax } from "../domain/limits.ts";
import { type } from "./arktype.ts";

export const appHost = type({
  host: "string",
  app_id: "string",
  created_at: "string",
  created_by: "string | null",
});
export type WireAppHost = typeof appHost.infer;

export const appHostPage = type({ items: appHost.array(), next_cursor: "string | null" });

/** A host name, or `*.` and a name for all below it. */
export const appHostInput = type({
  "+": "reject",
  host: `1 <= string <= ${hostCharsMax}`,
});
export type AppHostInput = typeof appHostInput.infer;

export const appHostQuery = type({ "+": "reject", host: `1 <= string <= ${hostCharsMax}` });
