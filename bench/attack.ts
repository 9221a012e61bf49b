/** Two children; one app attacks without pause, a neighbour asks 50 times a second. */
import { spawnLoad } from "./load.ts";
import { attackScript, helloScript } from "./scripts.ts";
import { deploy, startBenchServer } from "./server.ts";
import { fixed, type Row } from "./table.ts";

const attackLimits = { timeout_ms: 200, cpu_ms: 200 };

export async function attackRows(seconds: number): Promise<Row[]> {
  await using server = await startBenchServer({ env: { PICLOUD_SANDBOXES: "2" } });
  await server.api("POST", "apps", { slug: "bad", name: "The attacker" });
  await deploy(server, { name: "hello", source: helloScript, path: "/hello" });
  await deploy(server, {
    app: "bad",
    name: "attack",
    source: attackScript,
    path: "/attack",
    limits: attackLimits,
  });
  const neighbour = {
    port: server.publicPort,
    connections: 8,
    rate: 50,
    requests: [{ method: "GET", path: "/hello" }],
  };
  await spawnLoad({ ...neighbour, seconds: 3 });
  const calm = await spawnLoad({ ...neighbour, seconds });
  const attack = spawnLoad({
    port: server.publicPort,
    connections: 3,
    seconds: seconds + 4,
    requests: [{ method: "GET", path: "/attack" }],
  });
  await Bun.sleep(2_000); // the first offence
  const attacked = await spawnLoad({ ...neighbour, seconds });
  const offences = await attack;
  const errors = calm.errors + attacked.errors;
  return [
    {
      what: "neighbour's errors while one app attacks",
      target: "0",
      measured: String(errors),
      reached: errors === 0,
      detail: `${attacked.requests} requests; the attacker got ${JSON.stringify(offences.statuses)}`,
    },
    {
      what: "neighbour's p99 under attack, after the first offence",
      target: `<= 3 x ${fixed(calm.p99)} ms`,
      measured: `${fixed(attacked.p99)} ms`,
      reached: attacked.p99 <= 3 * calm.p99,
      detail: `p50 ${fixed(calm.p50)} -> ${fixed(attacked.p50)} ms, max ${fixed(attacked.max)} ms`,
    },
  ];
}
