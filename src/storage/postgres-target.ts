/** What PICLOUD_DATABASE_URL says, taken apart. The password goes to the client and nowhere else. */
import { databaseUrlProblem } from "../domain/database-url.ts";
import { PicError } from "../domain/errors.ts";

export interface PostgresTarget {
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
  /** `prefer`, as PostgreSQL's own programs: encrypted where the server can. */
  sslmode: "disable" | "prefer" | "require" | "verify-full";
  sslnegotiation: "postgres" | "direct";
  /** For the server's list of sessions; ours is added. */
  application_name: string;
  /** Settings of the session, as `-c search_path=x`; "" for none. */
  options: string;
  /** Without credentials, for messages. */
  label: string;
}

const portDefault = 5_432;

/** Throws PicError `invalid`, which names the variable and never the value. */
export function parseTarget(text: string): PostgresTarget {
  const problem = databaseUrlProblem(text);
  if (problem !== null) throw new PicError("invalid", `PICLOUD_DATABASE_URL ${problem}.`);
  const url = new URL(text);
  const parameter = (name: string): string => url.searchParams.get(name) ?? "";
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = url.port === "" ? portDefault : Number(url.port);
  const database = url.pathname.slice(1);
  return {
    host,
    port,
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database,
    sslmode: (parameter("sslmode") || "prefer") as PostgresTarget["sslmode"],
    sslnegotiation: parameter("sslnegotiation") === "direct" ? "direct" : "postgres",
    application_name: parameter("application_name") || "picloud",
    options: parameter("options"),
    label: `PostgreSQL database ${database} on ${url.hostname}:${port}`,
  };
}
