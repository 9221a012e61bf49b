/** `GET /version` on the wire. */
import { type } from "./arktype.ts";

export const versions = type({
  product: "string",
  sdk: "string",
  api: "string",
  schema: "number.integer >= 0",
  wire: "string",
  public_base_url: "string | null",
});
