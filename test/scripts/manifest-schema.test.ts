import { describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { manifestSchema } from "../../scripts/manifest-schema.ts";

const root = resolve(import.meta.dir, "../..");

describe("the schema of manifests", () => {
  test("is docs/manifest.schema.json; `bun scripts/manifest-schema.ts` writes that file anew", async () => {
    expect(await Bun.file(`${root}/docs/manifest.schema.json`).text()).toBe(manifestSchema());
  });

  test("explains every member to who writes one", () => {
    const unexplained: string[] = [];
    let count = 0;
    const look = (node: unknown, path: string): void => {
      if (typeof node !== "object" || node === null) return;
      const { properties, ...rest } = node as Record<string, unknown>;
      for (const [name, member] of Object.entries((properties ?? {}) as object)) {
        count += 1;
        if (typeof member.description !== "string") unexplained.push(`${path}.${name}`);
        look(member, `${path}.${name}`);
      }
      for (const value of Object.values(rest)) look(value, path);
    };
    look(JSON.parse(manifestSchema()), "");
    expect(unexplained).toEqual([]);
    expect(count).toBeGreaterThan(40);
  });
});
