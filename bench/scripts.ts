/** The scripts that the workloads run, as their authors would write them. */

export const helloScript = `export default function () {
  return { hello: "world" };
}
`;

export const echoScript = `interface Item { price: number; count: number }

export default function (ctx) {
  const items: Item[] = ctx.request.body.items;
  return { total: items.reduce((sum, item) => sum + item.price * item.count, 0), items };
}
`;

/** About 600 bytes, the size of a small order. */
export const echoBody = JSON.stringify({
  items: Array.from({ length: 12 }, (_, index) => ({
    name: `item ${index}`,
    price: index * 1.5,
    count: index + 1,
  })),
});

export const fibScript = `function fib(n: number): number {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

export default function () {
  return { fib: fib(20) };
}
`;

export const kvScript = `import { kv } from "picloud";

const hits = kv.collection("hits");

export default async function (ctx) {
  const key = ctx.request.params.key;
  const n = ((await hits.get(key)) ?? 0) + 1;
  await hits.set(key, n);
  return { n };
}
`;

/** Fills a collection, so many rows a request. */
export const fillScript = `import { kv } from "picloud";

const items = kv.collection("items");

export default async function (ctx) {
  const from = Number(ctx.request.params.from);
  const writes = Array.from({ length: 1_000 }, (_, index) => {
    const id = from + index;
    return items.set("item-" + id, { id, name: "item " + id, price: (id * 7_919) % 10_007 });
  });
  await Promise.all(writes);
  return { written: writes.length };
}
`;

export const attackScript = `export default function () {
  return Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1);
}
`;

/** A script of twenty functions, different for each `index`, to fill the image cache honestly. */
export function neighbourScript(index: number): string {
  const functions = Array.from(
    { length: 20 },
    (_, n) => `function part${n}(value: number): number { return value * ${index + n} + ${n}; }`,
  );
  return `${functions.join("\n")}
export default function () {
  return { index: ${index}, sum: [${functions.map((_, n) => `part${n}(${n})`).join(", ")}].reduce((a, b) => a + b) };
}
`;
}

/** Writes one entry. */
export const writeScript = `import { kv } from "picloud";

const orders = kv.collection("orders");

export default async function (ctx) {
  await orders.set(ctx.request.params.key, { text: "an order" });
}
`;

export const trivialScript = "export default function () {}\n";

export const sleeperScript = `export default function () {
  return new Promise((resolve) => setTimeout(resolve, 290_000));
}
`;
