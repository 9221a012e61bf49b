import { type Context, docs } from "picloud";

interface Order {
  item: string;
  count: number;
  state: "placed" | "shipped" | "cancelled";
}

const orders = docs.collection<Order>("orders");

/** POST /orders with { item, count } places an order; GET /orders/:id shows it. */
export default async function (ctx: Context) {
  const { method, params, body } = ctx.request;
  if (method === "GET") return (await orders.get(params.id)) ?? { statusCode: 404 };
  if (typeof body?.item !== "string" || !(Number.isInteger(body.count) && body.count > 0)) {
    return { statusCode: 422, body: { error: "item and count are needed" } };
  }
  const order = await orders.insert({ item: body.item, count: body.count, state: "placed" });
  return { statusCode: 201, body: order };
}
