import { type Context, tx } from "picloud";

/**
 * POST /stock/:item with { count }. An asynchronous route: the caller gets a 202 as soon as the request is
 * stored. It may be tried more than once; what goes through `tx` happens once.
 */
export default async function (ctx: Context) {
  const { item } = ctx.request.params;
  const count: unknown = ctx.request.body?.count;
  if (typeof count !== "number") return { statusCode: 422, body: { error: "count is needed" } };
  const stock = await tx((t) => t.kv.collection<number>("stock").increment(item, count));
  return { item, stock };
}
