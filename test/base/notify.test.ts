import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Notifier, openNotifier } from "../../src/base/notify.ts";
import { openNotifySocket } from "./notify-socket.ts";

const folder = mkdtempSync(join(tmpdir(), "picloud-notify-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let sockets = 0;
function newName(kind: "path" | "abstract"): string {
  sockets += 1;
  return kind === "path" ? `${folder}/${sockets}` : `@picloud-test-${process.pid}-${sockets}`;
}

function open(name: string, sendMsMax = 1_000): Notifier {
  const notifier = openNotifier(name, sendMsMax);
  if (notifier === null) throw new Error("a machine with systemd has its C library");
  return notifier;
}

describe.skipIf(process.platform !== "linux")("the service manager is told", () => {
  for (const kind of ["path", "abstract"] as const) {
    test(`over a socket with ${kind === "path" ? "a path" : "an abstract name"}`, () => {
      using socket = openNotifySocket(newName(kind));
      const notifier = open(socket.name);
      expect(notifier.send(["READY=1", "STATUS=Serving – 8080"])).toBe(true);
      expect(notifier.send(["WATCHDOG=1"])).toBe(true);
      notifier.close();
      expect(socket.messages()).toEqual([["READY=1", "STATUS=Serving – 8080"], ["WATCHDOG=1"]]);
    });
  }

  test("a socket that was opened anew under its name gets what follows", () => {
    const name = newName("path");
    using first = openNotifySocket(name);
    const notifier = open(name);
    notifier.send(["WATCHDOG=1"]);
    first.messages();
    rmSync(name);
    using second = openNotifySocket(name);
    expect(notifier.send(["WATCHDOG=1"])).toBe(true);
    notifier.close();
    expect(first.messages()).toHaveLength(1);
    expect(second.messages()).toHaveLength(1);
  });

  test("nobody there, no socket, a name that is too long: false, and nothing is thrown", () => {
    const file = newName("path");
    writeFileSync(file, "");
    for (const name of [newName("path"), newName("abstract"), file, `/${"x".repeat(200)}`]) {
      const notifier = open(name);
      expect(notifier.send(["READY=1"])).toBe(false);
      notifier.close();
    }
  });

  test("a manager that reads nothing holds the server up for no longer than the bound", () => {
    using socket = openNotifySocket(newName("path"));
    const notifier = open(socket.name, 20);
    let sent = 0;
    // The kernel bounds the queue of a unix socket (net.unix.max_dgram_qlen, some hundred at most).
    while (sent < 100_000 && notifier.send(["WATCHDOG=1"])) sent += 1;
    expect(sent).toBeGreaterThan(0);
    expect(notifier.send(["WATCHDOG=1"])).toBe(false);
    socket.messages();
    expect(notifier.send(["STOPPING=1"])).toBe(true);
    notifier.close();
  });

  test("after the end nothing is sent, and ending twice is allowed", () => {
    using socket = openNotifySocket(newName("path"));
    const notifier = open(socket.name);
    notifier.close();
    notifier.close();
    expect(notifier.send(["READY=1"])).toBe(false);
    expect(notifier.send([])).toBe(false);
    expect(socket.messages()).toEqual([]);
  });
});
