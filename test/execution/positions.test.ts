import { describe, expect, test } from "bun:test";
import type { ModuleSet } from "../../src/execution/modules.ts";
import { createErrorMapper } from "../../src/execution/positions.ts";
import type { Database, Seen } from "../../src/storage/port.ts";
import { insertVersion } from "../../src/storage/scripts.ts";
import type { Statement } from "../../src/storage/sql.ts";
import { openFolder, scriptOf } from "./folder.ts";

/** Line 1 of the compiled code is line 10 of the source. */
const sourceMap = JSON.stringify({
  version: 3,
  sources: ["hello"],
  names: [],
  mappings: "AASA",
});

async function setup() {
  const folder = await openFolder();
  await folder.db.tx((tx) =>
    insertVersion(tx, scriptOf({ active_version: 2, source_map: sourceMap }).version),
  );
  const reads = { count: 0 };
  const db = Object.create(folder.db) as Database;
  db.get = <Row>(statement: Statement<Row>, seen?: Seen) => {
    reads.count += 1;
    return folder.db.get(statement, seen);
  };
  return { ...folder, reads, mapError: createErrorMapper(db) };
}

const error = {
  name: "TypeError",
  message: "no",
  stack: "    at f (hello:1:1)\n    at g (other:1:1)",
};
const of = { script_id: "script-1", script_name: "hello", version: 2, modules: null };

/** Modules as a program has them: name → script id, all at version 2. */
function modulesOf(ids: Readonly<Record<string, string>>): ModuleSet {
  const versions = Object.entries(ids).map(([name, script_id]) => ({
    script_id,
    name,
    number: 2,
    imports: [],
    code_bytes: 1,
    shape_rule: 1,
  }));
  return {
    versions: new Map(versions.map((version) => [version.name, version])),
    ids: new Set(Object.values(ids)),
    missing: [],
    code_bytes: 1,
    fingerprint: "",
  };
}

describe("an error", () => {
  test("has each module's frames in that module's own lines, as it was when it ran", async () => {
    await using bundle = await setup();
    const modules = modulesOf({ labels: "script-2", unused: "script-1", gone: "gone" });
    const stack = [
      "    at label (labels:1:1)",
      "    at f (hello:1:1)",
      "    at g (other:1:1)",
      "    at h (gone:1:1)",
    ].join("\n");
    await bundle.db.tx((tx) =>
      insertVersion(
        tx,
        scriptOf({ id: "script-2", active_version: 2, source_map: sourceMap }).version,
      ),
    );
    const mapped = await bundle.mapError({ ...error, stack }, { ...of, modules });
    expect(mapped.stack).toBe(
      [
        "    at label (labels:10:1)",
        "    at f (hello:10:1)",
        "    at g (other:1:1)",
        "    at h (gone:1:1)",
      ].join("\n"),
    );
    // the script's, the module's and the one that is gone; `unused` stands in no frame
    expect(bundle.reads.count).toBe(3);
    await bundle.mapError({ ...error, stack }, { ...of, modules });
    expect(bundle.reads.count).toBe(3);
  });

  test("gets its author's lines, of its own script alone", async () => {
    await using bundle = await setup();
    expect(await bundle.mapError(error, of)).toEqual({
      ...error,
      stack: "    at f (hello:10:1)\n    at g (other:1:1)",
    });
  });

  test("costs one read per version, however many there are", async () => {
    await using bundle = await setup();
    for (let i = 0; i < 50; i += 1) await bundle.mapError(error, of);
    expect(bundle.reads.count).toBe(1);
  });

  test("of a version that is gone, or whose map is broken, stays as it is", async () => {
    await using bundle = await setup();
    expect(await bundle.mapError(error, { ...of, version: 99 })).toEqual(error);
    expect(await bundle.mapError(error, { ...of, script_id: "gone" })).toEqual(error);
    await bundle.db.tx((tx) =>
      insertVersion(
        tx,
        scriptOf({ active_version: 3, source_map: '{"version":3,"mappings":5}' }).version,
      ),
    );
    expect(await bundle.mapError(error, { ...of, version: 3 })).toEqual(error);
  });
});
