/** Lists: what a caller may ask for, and what it gets. */
import { type } from "./arktype.ts";

/** Query values are text; endpoint.ts turns `limit` into a number and checks its bound. */
export const pageQuery = type({
  "+": "reject",
  "limit?": "string",
  "cursor?": "string <= 1024",
});

export interface WirePage<T> {
  items: T[];
  next_cursor: string | null;
}
