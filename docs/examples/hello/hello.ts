import { type Context, kv, log } from "picloud";

const greetings: Record<string, string> = { en: "Hello", de: "Hallo", fr: "Bonjour" };

/** GET /hello/:name?lang=de greets, and counts how often each name was greeted. */
export default async function (ctx: Context) {
  const { name } = ctx.request.params;
  const greeting = greetings[ctx.request.query.lang] ?? greetings.en;
  const count = await kv.collection("greetings").increment(name);
  log.info("greeted", { name, count });
  return { message: `${greeting}, ${name}!`, count };
}
