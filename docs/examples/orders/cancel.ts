import { type Context, docs, log } from "picloud";

/** Runs when an event was tried for the last time and failed: here, an order that could not be shipped. */
export default async function ({ event }: Context) {
  if (event?.source !== "dead_letter") return;
  const { id, error, event: failed } = event.deadLetter;
  if (failed.source !== "docs" || failed.collection !== "orders") return;
  await docs.collection("orders").patch(String(failed.key), { state: "cancelled" });
  log.warn("an order was cancelled", { order: failed.key, reason: error.message, letter: id });
}
