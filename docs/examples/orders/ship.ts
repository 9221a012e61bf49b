import { type Context, tx } from "picloud";

/** Runs for each new order: takes it from the stock and marks it, both or neither, and once. */
export default async function ({ event }: Context) {
  if (event?.source !== "docs") return;
  const { item, count } = event.value as { item: string; count: number };
  await tx(async (t) => {
    const stock = t.kv.collection<number>("stock");
    // Thrown, so that it is tried again: the supplier may come.
    if (((await stock.get(item)) ?? 0) < count) throw new Error(`${item}: not enough in stock`);
    await stock.increment(item, -count);
    await t.docs.collection("orders").patch(event.key, { state: "shipped" });
  });
}
