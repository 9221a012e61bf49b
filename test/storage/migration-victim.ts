/** A process of the migrator's test: stands still inside its second migration until it is killed. */
import { Database as Connection } from "bun:sqlite";
import { writeSync } from "node:fs";
import { join } from "node:path";
import { migrate } from "../../src/storage/migrator.ts";

const connection = new Connection(join(process.argv[2] as string, "picloud.db"));
connection.run("begin immediate");
await migrate(
  {
    label: "victim",
    locked: (fn) =>
      fn({
        exec: async (text) => void connection.run(text),
        all: async (statement) => connection.query(statement.texts.join("?")).all() as never[],
        run: async () => {
          // Only the record of the migration is missing, and the commit.
          connection.run("insert into half values (1)");
          writeSync(1, "inside\n");
          return new Promise(() => setInterval(() => {}, 1_000));
        },
      }),
  },
  [
    { number: 1, name: "one", text: "create table a (n integer) strict;" },
    { number: 2, name: "two", text: "create table half (n integer); insert into a values (7);" },
  ],
  () => 0,
);
