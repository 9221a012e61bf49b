/** Callers who ask for much and read nothing. */
import { expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { answerSmallBytesMax, answersHeldBytesMax } from "../../src/domain/limits.ts";
import { AnswerBudget } from "../../src/http/answer-budget.ts";
import { setup } from "./gateway-fixture.ts";

const LARGE = 1_000_000;

test("large answers that nobody reads are bounded, small ones always pass", () => {
  const budget = new AnswerBudget(3 * LARGE);
  for (let unsent = 0; unsent < 3; unsent += 1) budget.take(LARGE, unsent);
  expect(() => budget.take(LARGE, 3)).toThrow("not read by their callers");
  budget.take(answerSmallBytesMax, 3);
  // One was read.
  budget.take(LARGE, 2);
  expect(() => budget.take(LARGE, 3)).toThrow();
  // All were.
  budget.take(2 * LARGE, 0);
  expect(() => budget.take(2 * LARGE, 1)).toThrow();
});

test("answers that are read are not bounded, however many and large", () => {
  const budget = new AnswerBudget(3 * LARGE);
  for (let round = 0; round < 3_000; round += 1) budget.take(LARGE, round % 3);
  budget.take(100 * LARGE, 0);
});

test("whoever reads nothing keeps out large answers at most, until he goes", async () => {
  await using pi = setup();
  const body = `"${"x".repeat(10_000_000)}"`;
  pi.answer(({ request }) => (request.path === "/hello" ? { body } : {}));
  const idle: Socket[] = [];
  const count = Math.ceil(answersHeldBytesMax / body.length) + 1;
  for (let index = 0; index < count; index += 1) {
    const socket = connect(pi.servers.publicPort, "127.0.0.1").on("error", () => {});
    socket.pause();
    idle.push(socket);
    const before = pi.started.length;
    socket.write("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    while (pi.started.length === before) await Bun.sleep(1);
  }
  const refused = await pi.get("/hello");
  expect(refused.status).toBe(503);
  expect(JSON.parse(refused.body).code).toBe("overloaded");
  expect(refused.headers["retry-after"]).toBeDefined();
  expect((await pi.get("/only-get")).status).toBe(200);
  for (const socket of idle) socket.destroy();
  const deadline = performance.now() + 5_000;
  let status = 0;
  while (status !== 200 && performance.now() < deadline) status = (await pi.get("/hello")).status;
  expect(status).toBe(200);
});
