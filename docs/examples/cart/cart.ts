import type { Context } from "picloud";
import { type Item, inEuros, total } from "prices";

/** POST /cart with a list of items adds them up; `prices` is a module of the same app. */
export default function (ctx: Context) {
  const items = ctx.request.body as Item[];
  const cents = total(items);
  return { cents, total: inEuros(cents) };
}
