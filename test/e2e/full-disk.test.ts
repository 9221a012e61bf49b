/** A disk that fills up under SQLite: writes fail, reads go on, and nothing that was acknowledged is lost. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectWhole } from "./engine.ts";
import { deployCounter, Ledger, startLoad } from "./load.ts";
import { deployShop, OrderBook, reconcile, startOrders } from "./orders.ts";
import { StartFailed, serverCommand, startServer, type TestServer } from "./server.ts";
import { problemOf, recordOf, refusal, until } from "./steps.ts";

/** A disk that a test fills and frees. */
interface SmallDisk<Subject> extends Disposable {
  fill(subject: Subject): void;
  free(subject: Subject): void;
  dataDir: string;
  /** Instead of the executable. */
  command?: string[];
}

/** A file system of its own in memory. Needs root. */
function tmpfsDisk(): SmallDisk<unknown> {
  const folder = mkdtempSync(join(tmpdir(), "picloud-disk-"));
  run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder);
  const filler = join(folder, "filler");
  return {
    dataDir: join(folder, "data"),
    fill: () => {
      const chunk = Buffer.alloc(4_096);
      try {
        for (;;) writeFileSync(filler, chunk, { flag: "a" });
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOSPC") throw error;
      }
    },
    free: () => rmSync(filler),
    [Symbol.dispose]: () => {
      run("umount", "--lazy", folder);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** No file may grow any more (RLIMIT_FSIZE), which anybody may do to a process of theirs. */
async function limitedDisk(): Promise<SmallDisk<TestServer>> {
  const folder = mkdtempSync(join(tmpdir(), "picloud-limit-"));
  const limit = (server: TestServer, bytes: string): void =>
    run("prlimit", "--pid", String(server.pid), `--fsize=${bytes}:`);
  return {
    dataDir: folder,
    // Without the trap the kernel would end the process instead of refusing the write.
    command: ["/bin/sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", ...(await serverCommand())],
    fill: (server) => limit(server, String(statSync(join(folder, "picloud.db-wal")).size)),
    free: (server) => limit(server, "unlimited"),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function run(...command: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
}

function canMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "picloud-mount-"));
  try {
    run("mount", "-t", "tmpfs", "tmpfs", folder);
    run("umount", folder);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe("a full disk", () => {
  const mountable = canMount();
  const reason = mountable ? "" : " (skipped: mounting needs root)";
  test.skipIf(!mountable)(
    `of its own${reason}: writes fail, reads go on, and it recovers`,
    async () => {
      using disk = tmpfsDisk();
      await expectSurvives(disk);
    },
  );

  test.skipIf(!mountable)(
    `at a start${reason}: it is said, and a later start is whole`,
    async () => {
      using disk = tmpfsDisk();
      disk.fill(undefined);
      const refused = await startServer({ dataDir: disk.dataDir }).then(
        () => null,
        (error) => error,
      );
      expect(refused).toBeInstanceOf(StartFailed);
      expect(refused.exitCode).toBe(1);
      expect(refused.output).toMatch(/^picloud: .*(?:The disk is full|ENOSPC).*\n$/);
      disk.free(undefined);
      await using server = await startServer({ dataDir: disk.dataDir });
      expect((await server.client.auth.me()).username).toBe("admin");
    },
  );

  const limitable = Bun.which("prlimit") !== null;
  const missing = limitable ? "" : " (skipped: there is no prlimit)";
  test.skipIf(!limitable)(`of files that may not grow${missing}: the same`, async () => {
    using disk = await limitedDisk();
    await expectSurvives(disk);
  });

  test.skipIf(!limitable)(
    `with events under way${missing}: what was acknowledged is handled once there is room`,
    async () => {
      using disk = await limitedDisk();
      const { dataDir } = disk;
      const command = disk.command === undefined ? {} : { command: disk.command };
      await using server = await startServer({ dataDir, ...command });
      const book = new OrderBook();
      await deployShop(server);
      // A script whose write is refused, and that does not catch it, has failed: 502.
      const orders = startOrders(server, book, [502, 503]);
      await orders.acknowledged(60);
      disk.fill(server);
      const refused = (): boolean => book.refused.has(502) && book.refused.has(503);
      await until("orders are refused", 10_000, () => (refused() ? true : null));
      expect(await (await fetch(`${server.url}/healthz`)).text()).toBe("ok");
      disk.free(server);
      await orders.acknowledged(book.acknowledged.size + 60);
      orders.stop();
      await orders.ended;
      const { lost, repeated, dead } = await reconcile(server, book);
      expectWhole(dataDir);
      expect({ lost, repeated, dead, faults: book.faults }).toEqual({
        lost: [],
        repeated: [],
        dead: 0,
        faults: [],
      });
    },
  );

  async function expectSurvives(disk: SmallDisk<TestServer>): Promise<void> {
    const { dataDir } = disk;
    const command = disk.command === undefined ? {} : { command: disk.command };
    const ledger = new Ledger();
    {
      await using server = await startServer({ dataDir, ...command });
      await deployCounter(server);
      const load = startLoad(server, ledger);
      await load.acknowledged(100);
      disk.fill(server);
      await until("writes are refused", 10_000, () => (load.refused.size > 0 ? true : null));
      load.stop();
      await load.ended;
      await expectReadOnly(server, ledger);
      disk.free(server);
      const again = startLoad(server, ledger, { label: "-again" });
      await again.acknowledged(100);
      await server.kill9();
      await again.ended;
      expect([...again.refused]).toEqual([]);
    }
    await using server = await startServer({ dataDir });
    await ledger.expectKept(server);
    expect(await server.stop()).toBe(0);
    expectWhole(dataDir);
  }

  async function expectReadOnly(server: TestServer, ledger: Ledger): Promise<void> {
    await ledger.expectKept(server);
    const refused = await refusal(
      server.client.scripts.create({ name: "full", source: "export default () => 1" }),
    );
    expect(refused).toMatchObject({ status: 503, code: "unavailable" });
    const failed = await fetch(`${server.url}/count/c0`, { method: "POST" });
    expect(failed.status).toBe(502);
    expect(JSON.stringify(await problemOf(failed.clone() as Response))).not.toMatch(/disk|sqlite/i);
    const record = await recordOf(server.client, failed);
    expect(record.error).toMatchObject({ code: "unavailable" });
    expect(await (await fetch(`${server.url}/healthz`)).text()).toBe("ok");
    expect((await server.client.scripts.list()).items.length).toBeGreaterThan(0);
  }
});
