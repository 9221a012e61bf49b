import { expect, test } from "bun:test";
import { resolve } from "node:path";

const module = resolve(import.meta.dir, "../../src/base/code-pages.ts");

/** Mapped code of this program, kilobytes, before and after; then work that needs code again. */
const program = `
  import { readFileSync } from "node:fs";
  import { releaseCodePages } from ${JSON.stringify(module)};
  const codeKb = () => {
    let inCode = false;
    let kb = 0;
    for (const line of readFileSync("/proc/self/smaps", "utf8").split("\\n")) {
      if (/^[0-9a-f]+-/.test(line)) inCode = line.includes(" r-xp ") && line.endsWith(process.execPath);
      else if (inCode && line.startsWith("Rss:")) kb += Number(/\\d+/.exec(line)[0]);
    }
    return kb;
  };
  const before = codeKb();
  releaseCodePages();
  const after = codeKb();
  const server = Bun.serve({ port: 0, fetch: () => Response.json({ sorted: [3, 1, 2].sort() }) });
  const answer = await (await fetch(server.url)).json();
  server.stop(true);
  console.log(JSON.stringify({ before, after, answer }));
`;

test.skipIf(process.platform !== "linux")(
  "code that only the start needed is no longer mapped, and everything goes on working",
  async () => {
    const child = Bun.spawn([process.execPath, "-e", program], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const text = await new Response(child.stdout).text();
    expect(await child.exited).toBe(0);
    const { before, after, answer } = JSON.parse(text);
    expect(answer).toEqual({ sorted: [1, 2, 3] });
    expect(before).toBeGreaterThan(4_000);
    expect(after).toBeLessThan(before / 2);
  },
);
