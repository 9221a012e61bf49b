/** What users depend on does not change without its version: scripts/contracts.ts, docs/contracts.json. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import {
  additions,
  type ContractSources,
  type Contracts,
  contractsOf,
  readLock,
  readSources,
  violations,
} from "../scripts/contracts.ts";
import { apiVersion } from "../src/http/api-version.ts";
import {
  postgresLogsMigrations,
  postgresMigrations,
  sqliteLogsMigrations,
  sqliteMigrations,
} from "../src/storage/migrations.ts";

const root = resolve(import.meta.dir, "..");
const sources = await readSources();
const now = contractsOf(sources);

/** This tree's contracts after a change of what they are made of, against those before it. */
function after(change: (sources: ContractSources) => void): string[] {
  const changed = structuredClone(sources);
  change(changed);
  return violations(now, contractsOf(changed));
}

function edited(text: string, from: string | RegExp, to: string): string {
  const result = text.replace(from, to);
  expect(result).not.toBe(text);
  return result;
}

describe("the tree", () => {
  test("has changed no contract without raising its version", () => {
    expect(violations(readLock(), now)).toEqual([]);
  });

  test("has nothing that the lock does not know: bun scripts/contracts.ts", () => {
    expect(additions(readLock(), now)).toEqual([]);
  });

  test("embeds the migrations that it has, under their numbers and names", () => {
    const embedded = Object.entries({
      sqlite: sqliteMigrations,
      "sqlite/logs": sqliteLogsMigrations,
      postgres: postgresMigrations,
      "postgres/logs": postgresLogsMigrations,
    }).flatMap(([folder, migrations]) =>
      migrations.map(({ number, name, text }): [string, string] => [
        `${folder}/${String(number).padStart(4, "0")}_${name}.sql`,
        text,
      ]),
    );
    expect(Object.fromEntries(embedded)).toEqual(sources.migrations);
  });

  test("says in docs/versioning.md what raises each version that the server shows", () => {
    const text = readFileSync(`${root}/docs/versioning.md`, "utf8");
    for (const name of ["product", "sdk", "api", "schema", "wire"]) {
      expect(text).toContain(`| \`${name}\` |`);
    }
  });
});

describe("the SDK", () => {
  const declared = /increment\(/;

  test("may not change what it declares", () => {
    const [sentence = ""] = after(({ sdk }) => {
      sdk.declarations = edited(sdk.declarations, declared, "incrementBy(");
    });
    expect(sentence).toStartWith("sdk: it has changed");
    expect(sentence).toContain("raise SDK_VERSION in src/sdk/declarations.ts");
    expect(sentence).toContain("bun scripts/contracts.ts");
  });

  test("may with a higher version, and not with a lower one", () => {
    const change = (version: string) =>
      after(({ sdk }) => {
        sdk.declarations = edited(sdk.declarations, declared, "incrementBy(");
        sdk.version = version;
      });
    expect(change("1.99")).toEqual([]);
    expect(change("2.0")).toEqual([]);
    expect(change("0.9")).toEqual([
      `sdk: its version went back from ${sources.sdk.version} to 0.9`,
    ]);
  });

  test("10 comes after 9", () => {
    const lock = structuredClone(now);
    lock.sdk.version = "1.9";
    const next = structuredClone(now);
    next.sdk = { version: "1.10", sha256: "another" };
    expect(violations(lock, next)).toEqual([]);
    expect(violations(next, lock)).toHaveLength(1);
  });

  test("may be explained better at any time", () => {
    const change = after(({ sdk }) => {
      sdk.declarations = `// Another comment\n/** And\n * another. */\n${sdk.declarations}\n`;
    });
    expect(change).toEqual([]);
  });
});

describe("the API", () => {
  type Json = { [name: string]: Json };
  const changed = (change: (document: Json) => void, version = sources.api.version): string[] =>
    after(({ api }) => {
      const document = JSON.parse(api.document) as Json;
      change(document);
      api.document = JSON.stringify(document);
      api.version = version;
    });

  test("may not lose, gain or change an operation", () => {
    const [path = ""] = Object.keys((JSON.parse(sources.api.document) as Json).paths ?? {});
    const changes: ((document: Json) => void)[] = [
      ({ paths }) => delete paths?.[path],
      ({ paths }) => Object.assign(paths ?? {}, { "/api/v1/admin/new": {} }),
      ({ paths }) => Object.assign(paths?.[path] ?? {}, { parameters: [{ name: "new" }] }),
    ];
    for (const change of changes) {
      const [sentence = ""] = changed(change);
      expect(sentence).toStartWith("api: it has changed");
      expect(sentence).toContain("raise apiDocumentVersion in src/http/api-version.ts");
      expect(changed(change, `${apiVersion}.99`)).toEqual([]);
    }
  });

  test("may not lose a property that is called like an explanation", () => {
    const schemas: Json = { Plant: { properties: { description: {}, title: {} } } };
    const lock = contractsOf(withSchemas(schemas));
    delete schemas.Plant?.properties?.description;
    expect(violations(lock, contractsOf(withSchemas(schemas)))).toHaveLength(1);
  });

  test("may be explained better, and in another order, at any time", () => {
    const change = (document: Json): void => {
      Object.assign(document, { info: { title: "Another", description: "text" } });
      const paths = Object.entries(document.paths ?? {}).reverse();
      document.paths = Object.fromEntries(paths);
    };
    expect(changed(change)).toEqual([]);
  });

  test("is numbered like its path", () => {
    expect(changed(() => {}, "99.0")).toEqual([
      `api: 99.0 must begin with the number in its path, ${apiVersion}`,
    ]);
  });

  function withSchemas(schemas: Json): ContractSources {
    const document = JSON.stringify({ components: { schemas } });
    return { ...sources, api: { version: sources.api.version, document } };
  }
});

describe("the frames", () => {
  test("may not change their numbers, their payloads or what is in those", () => {
    const changes: ((wire: ContractSources["wire"]) => void)[] = [
      (wire) => {
        wire.protocol = edited(wire.protocol, "FRAME_DONE = 66", "FRAME_DONE = 69");
      },
      (wire) => {
        wire.protocol = edited(wire.protocol, "payload: JSON DoneHeader", "payload: JSON");
      },
      (wire) => {
        wire.protocol = edited(wire.protocol, "timeout_ms: number", "timeout_s: number");
      },
      (wire) => {
        wire.contents = edited(
          wire.contents,
          /interface LogEntry \{/,
          "interface LogEntry { x: 1;",
        );
      },
    ];
    for (const change of changes) {
      const [sentence = ""] = after(({ wire }) => change(wire));
      expect(sentence).toStartWith("wire: it has changed");
      expect(sentence).toContain("raise wireVersion in src/sandbox/protocol.ts");
      const raised = after(({ wire }) => {
        change(wire);
        wire.protocol = edited(wire.protocol, /(wireVersion = )"[^"]*"/, '$1"99"');
        wire.version = "99";
      });
      expect(raised).toEqual([]);
    }
  });

  test("may be explained better at any time, and a version may be raised for nothing", () => {
    const change = after(({ wire }) => {
      wire.protocol = `/** Another comment. */\n${wire.protocol}`;
    });
    expect(change).toEqual([]);
    const raised = after(({ wire }) => {
      wire.version = "99";
    });
    expect(raised).toEqual([]);
  });
});

describe("a migration", () => {
  const first = "sqlite/0001_initial.sql";

  test("may not change, by a single space, nor go", () => {
    const changed = after(({ migrations }) => {
      migrations[first] = `${migrations[first]} `;
    });
    expect(changed).toEqual([
      `migrations/${first}: it has changed: undo that, and add a migration with the next number for both engines`,
    ]);
    const [gone = ""] = after(({ migrations }) => delete migrations[first]);
    expect(gone).toStartWith(`migrations/${first}: it is gone`);
  });

  test("may be added, for both engines, under one number and name", () => {
    const add = (...names: string[]) =>
      after(({ migrations }) => {
        for (const name of names) migrations[name] = "select 1;";
      });
    expect(add("sqlite/0099_next.sql", "postgres/0099_next.sql")).toEqual([]);
    expect(add("sqlite/0099_next.sql")).toEqual([
      "migrations/sqlite/0099_next.sql: postgres has no migration of this number and name",
    ]);
    expect(add("sqlite/0099_next.sql", "postgres/0099_other.sql")).toHaveLength(2);
    expect(add("mysql/0099_next.sql")).toEqual([
      "migrations/mysql/0099_next.sql: mysql is no engine",
    ]);
  });

  test("that is new, and a version that was raised, is for the lock to learn", () => {
    const lock: Contracts = structuredClone(now);
    delete lock.migrations[first];
    lock.sdk.version = "0.1";
    expect(additions(lock, now)).toEqual(["sdk", `migrations/${first}`]);
    expect(additions(now, now)).toEqual([]);
  });
});
