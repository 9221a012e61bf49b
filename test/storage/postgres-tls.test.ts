/** Encrypted connections, against a server that can and one that cannot. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { chownSync, existsSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { sql } from "../../src/storage/sql.ts";
import { postgresMissing, type TestPostgres, testPostgres } from "../postgres.ts";
import { codeOf, messageOf } from "./conformance/engine.ts";
import { changed, test } from "./postgres-setup.ts";

let server: TestPostgres;
let name: string;
beforeAll(async () => {
  if (postgresMissing() !== null) return;
  server = await testPostgres();
  name = await server.createDatabase();
});
afterAll(async () => {
  if (postgresMissing() === null) await server.dropDatabase(name);
});

/** Opens, and says whether the session is encrypted. */
async function session(parameters: string, parts: Partial<URL> = {}): Promise<boolean> {
  const url = changed(server.url(name), parts) + parameters;
  const bounds = { lockWaitMsMax: 5_000 };
  const opened = await openPostgres({ url, clock: systemClock, log: silentLogger, bounds });
  try {
    const encrypted = sql<{
      ssl: boolean;
    }>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
    const row = await opened.db.get(encrypted);
    // Longer than any buffer on the way.
    const text = "é".repeat(500_000);
    expect(await opened.db.get(sql`select ${text} as text`)).toEqual({ text });
    return row?.ssl === true;
  } finally {
    await opened.close();
  }
}

describe("a server that does not encrypt", () => {
  test("is used, unless the address asks for encryption", async () => {
    expect(await session("")).toBe(false);
    expect(await session("?sslmode=disable")).toBe(false);
    for (const sslmode of ["require", "verify-full"]) {
      expect(await messageOf(session(`?sslmode=${sslmode}`))).toContain("it does not encrypt");
    }
  });
});

describe("a server that encrypts", () => {
  let isReady = false;
  beforeAll(async () => {
    if (postgresMissing() !== null) return;
    const [row] = await server.run("show data_directory");
    const data = String(row?.data_directory);
    // A server that somebody else runs is left as it is.
    if (Bun.which("openssl") === null || !existsSync(data)) return;
    const files = ["-keyout", `${data}/server.key`, "-out", `${data}/server.crt`];
    const kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
    Bun.spawnSync(["openssl", "req", ...kind, ...files], { stderr: "ignore" });
    const { uid, gid } = statSync(data);
    for (const file of ["server.key", "server.crt"]) chownSync(`${data}/${file}`, uid, gid);
    await server.run("alter system set ssl = on");
    await server.run("select pg_reload_conf()");
    isReady = true;
  });
  afterAll(async () => {
    if (!isReady) return;
    await server.run("alter system reset ssl");
    await server.run("select pg_reload_conf()");
  });

  test("is used encrypted, unless the address says not to; a stranger's certificate is not trusted", async () => {
    if (!isReady) return console.log("skipped: no openssl, or not our server");
    expect(await session("")).toBe(true);
    expect(await session("?sslmode=prefer", { hostname: "localhost" })).toBe(true);
    expect(await session("?sslmode=require")).toBe(true);
    expect(await session("?sslmode=disable")).toBe(false);
    expect(await messageOf(session("?sslmode=verify-full"))).toContain("certificate");
  });
});

test("a server of another protocol is refused at once", async () => {
  const answers = ["HTTP/1.1 400 Bad Request\r\n\r\n", "SS"];
  for (const answer of answers) {
    const other = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(answer));
    });
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const address = other.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    const opened = session("", { port: String(address.port) });
    expect(await codeOf(opened)).toBe("unavailable");
    expect(await messageOf(opened)).toContain("does not speak PostgreSQL's protocol");
    other.close();
  }
});
