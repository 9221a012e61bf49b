/**
 * The ARM64 executable, for real: it starts, compiles a script, answers it over HTTP, keeps its data
 * over a restart and stops cleanly. On another machine it runs in an emulator, which scripts/test
 * names (PICLOUD_TEST_RUNNER); without the executable there is nothing to test.
 */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer } from "../e2e/server.ts";

const executable = process.env.PICLOUD_TEST_ARM64;
const runner = process.env.PICLOUD_TEST_RUNNER ?? "";
const command = [...runner.split(" ").filter((word) => word !== ""), executable ?? ""];

// Only scripts/test builds it and knows the emulator: skipped when run by hand.
test.skipIf(executable === undefined)(
  "answers a script over HTTP, twice over a restart",
  async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "picloud-arm64-"));
    const options = {
      command,
      dataDir,
      env: { PICLOUD_CHILD_PREFIX: runner, PICLOUD_SANDBOXES: "1" },
      readyMsMax: 60_000,
    };
    try {
      {
        await using server = await startServer(options);
        const { id } = await server.client.scripts.create({
          name: "count",
          source:
            'import { kv } from "picloud";\nexport default async () => ({ n: await kv.collection("c").increment("n") });',
        });
        await server.client.routes.create(id, { path: "/count" });
        const response = await fetch(`${server.url}/count`);
        expect([response.status, await response.json()]).toEqual([200, { n: 1 }]);
        expect(await server.stop()).toBe(0);
      }
      await using server = await startServer(options);
      const response = await fetch(`${server.url}/count`);
      expect([response.status, await response.json()]).toEqual([200, { n: 2 }]);
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  },
  120_000,
);
