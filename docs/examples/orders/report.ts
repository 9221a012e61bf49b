import { type Context, docs, kv, log } from "picloud";

const orders = docs.collection("orders");

/** Runs by the clock: how many orders there are in each state. */
export default async function ({ event }: Context) {
  if (event?.source !== "cron") return;
  // Does nothing when there is one.
  await orders.createIndex("state");
  const count = (state: string) => orders.count({ where: { state } });
  const [placed, shipped, cancelled] = await Promise.all(
    ["placed", "shipped", "cancelled"].map(count),
  );
  await kv.collection("reports").set(event.cron.tick, { placed, shipped, cancelled });
  log.info("reported", { placed, shipped, cancelled, ticks: event.cron.ticks });
}
