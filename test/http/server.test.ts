/** Listening and stopping. */
import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { silentLogger } from "../../src/base/log.ts";
import { PicError } from "../../src/domain/errors.ts";
import type { Fetch } from "../../src/http/gateway.ts";
import { type Servers, type ServersOptions, startServers } from "../../src/http/server.ts";
import { exchange } from "./gateway-fixture.ts";

const hello: Fetch = async () => new Response("hello");
const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

function start(more: Partial<ServersOptions> = {}): Servers {
  const anywhere = { host: "127.0.0.1", port: 0 };
  return startServers({
    bind: anywhere,
    adminBind: anywhere,
    fetchPublic: hello,
    fetchAdmin: hello,
    log: silentLogger,
    ...more,
  });
}

function startError(more: Partial<ServersOptions>): PicError {
  try {
    void start(more).stop(0);
  } catch (error) {
    if (error instanceof PicError) return error;
    throw error;
  }
  throw new Error("it listens");
}

describe("a port that cannot be had", () => {
  test("is named with its variable, and the other listener is closed again", async () => {
    const first = start();
    const taken = { host: "127.0.0.1", port: first.publicPort };
    expect(startError({ bind: taken }).message).toBe(
      `PICLOUD_BIND: 127.0.0.1:${first.publicPort} is in use by another program`,
    );
    const free = start();
    const released = { host: "127.0.0.1", port: free.publicPort };
    await free.stop(0);
    expect(startError({ bind: released, adminBind: taken }).message).toContain(
      "PICLOUD_ADMIN_BIND",
    );
    const again = start({ bind: released });
    expect(again.publicPort).toBe(released.port);
    await again.stop(0);
    await first.stop(0);
  });

  test("two servers never share one", async () => {
    const first = start();
    const bind = { host: "127.0.0.1", port: first.publicPort };
    expect(() => start({ bind })).toThrow(PicError);
    await first.stop(0);
  });

  test("an address of another machine is said to be none of ours", () => {
    expect(startError({ bind: { host: "192.0.2.1", port: 0 } }).message).toContain("PICLOUD_BIND");
  });
});

test("IPv6 is listened on, with and without brackets", async () => {
  for (const host of ["[::1]", "::1"]) {
    const servers = start({ bind: { host, port: 0 } });
    const reply = await fetch(`http://[::1]:${servers.publicPort}/`);
    expect(await reply.text()).toBe("hello");
    await servers.stop(0);
  }
});

describe("stopping", () => {
  test("answers what is under way, takes nothing new, and may be called twice", async () => {
    const entered = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const servers = start({
      fetchPublic: async () => {
        entered.resolve();
        await release.promise;
        return new Response("whole");
      },
    });
    const reply = exchange(servers.publicPort, REQUEST);
    await entered.promise;
    const stopped = servers.stop(5_000);
    const again = servers.stop(5_000);
    await expect(fetch(`http://127.0.0.1:${servers.publicPort}/`)).rejects.toThrow();
    release.resolve();
    expect((await reply).body).toBe("whole");
    await Promise.all([stopped, again]);
  });

  test("cuts off what does not end within the bound", async () => {
    const entered = Promise.withResolvers<void>();
    const servers = start({
      fetchPublic: () => {
        entered.resolve();
        return new Promise(() => {});
      },
    });
    const reply = exchange(servers.publicPort, REQUEST);
    await entered.promise;
    await servers.stop(50);
    expect((await reply).raw).toBe("");
  });

  test("does not wait for idle connections", async () => {
    const servers = start();
    const socket = connect(servers.publicPort, "127.0.0.1");
    const closed = new Promise((resolve) => socket.on("close", resolve));
    await new Promise((resolve) => {
      socket.once("data", resolve);
      socket.write(REQUEST);
    });
    await servers.stop(5_000);
    await closed;
  });

  test("a large answer arrives whole at a slow reader", async () => {
    const big = "x".repeat(8 * 1024 * 1024);
    const servers = start({ fetchPublic: async () => new Response(big) });
    const socket = connect(servers.publicPort, "127.0.0.1");
    let bytes = 0;
    const closed = new Promise((resolve) => socket.on("close", resolve));
    const began = new Promise<void>((resolve) => {
      socket.once("data", (chunk) => {
        bytes += chunk.length;
        socket.pause();
        resolve();
      });
    });
    socket.write(REQUEST);
    await began;
    const stopped = servers.stop(5_000);
    socket.on("data", (chunk) => {
      bytes += chunk.length;
    });
    setTimeout(() => socket.resume(), 50);
    await Promise.all([stopped, closed]);
    expect(bytes).toBeGreaterThan(big.length);
  });
});
