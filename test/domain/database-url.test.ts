import { describe, expect, test } from "bun:test";
import { databaseUrlProblem } from "../../src/domain/database-url.ts";

describe("a PostgreSQL address", () => {
  test.each([
    "postgres://pi:secret@db/picloud",
    "postgresql://pi@192.168.1.2:5433/picloud",
    "POSTGRES://pi:secret@[fe80::1]:5432/picloud",
    "postgres://pi:p%40ss%2Fword@db.lan/picloud",
    "postgres://pi@db/picloud?sslmode=verify-full&application_name=kitchen",
    "postgres://pi@db/picloud?sslmode=require&sslnegotiation=direct&options=-c%20search_path%3Dpi",
  ])("is accepted: %s", (text) => {
    expect(databaseUrlProblem(text)).toBeNull();
  });

  test.each([
    ["nothing of it", ""],
    ["another engine", "mysql://pi:secret@db/picloud"],
    ["a path", "/var/lib/picloud.db"],
    ["no slashes", "postgres:picloud"],
    ["no host", "postgres:///picloud"],
    ["no user", "postgres://db/picloud"],
    ["no database", "postgres://pi@db"],
    ["no database but a slash", "postgres://pi@db/"],
    ["a path below the database", "postgres://pi@db/picloud/x"],
    ["a database's name that the client would not decode", "postgres://pi@db/pi%20cloud"],
    ["several hosts", "postgres://pi@one,two/picloud"],
    ["several hosts with ports", "postgres://pi@one:1,two:2/picloud"],
    ["a socket's folder", "postgres://pi@%2Frun%2Fpostgresql/picloud"],
    ["a port that is none", "postgres://pi@db:99999/picloud"],
    ["a password that cannot be decoded", "postgres://pi:50%@db/picloud"],
    ["NUL in a password", "postgres://pi:%00@db/picloud"],
    ["a fragment", "postgres://pi@db/picloud#x"],
  ])("is refused with the shape that is wanted: %s", (_, text) => {
    expect(databaseUrlProblem(text)).toContain(
      "must be postgres://user:password@host:5432/database",
    );
  });

  test.each(["ssl=1", "ssl_mode=require", "sslrootcert=/ca.pem", "__proto__=x", "constructor=x"])(
    "takes no parameter that would only be noticed by the database: %s",
    (query) => {
      expect(databaseUrlProblem(`postgres://pi@db/picloud?${query}`)).toBe(
        "takes no parameters but sslmode, sslnegotiation, application_name, options",
      );
    },
  );

  test.each(["requier", "REQUIRE", "verify-ca", ""])("takes no sslmode of its own: %p", (mode) => {
    expect(databaseUrlProblem(`postgres://pi@db/picloud?sslmode=${mode}`)).toBe(
      "its sslmode must be one of disable, prefer, require, verify-full",
    );
  });
});
