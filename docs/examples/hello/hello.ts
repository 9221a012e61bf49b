import { kv, log, type RouteContext } from "picloud";

const greetings = { en: "Hello", de: "Hallo", fr: "Bonjour" };

/** GET /hello/:name?lang=de greets, and counts how often each name was greeted. */
export default async function (ctx) {
  const { name } = ctx.request.params;
  const greeting = greetings[ctx.request.query.lang ?? "en"] ?? greetings.en;
  const count = await kv.collection("greetings").increment(name);
  log.info("greeted", { name, count });
  return { message: `${greeting}, ${name}!`, count };
}
