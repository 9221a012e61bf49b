/**
 * What PICLOUD_DATABASE_URL may be. All of it is checked before anything connects, because a mistake
 * that only the database or its client notices looks like a database that is not there yet: the
 * client hands every parameter it does not know to the session, which is then refused at every try.
 */

/** What may follow the database's name, and the values it has; none listed: any. */
const PARAMETERS: Readonly<Record<string, readonly string[]>> = {
  // What the client makes of them: docs/postgresql.md. It has no verify-ca, and its allow is require.
  sslmode: ["disable", "prefer", "require", "verify-full"],
  sslnegotiation: ["postgres", "direct"],
  application_name: [],
  options: [],
};

const shape =
  "must be postgres://user:password@host:5432/database; unset it to use SQLite in the data folder";

/** The rule that `text` breaks, to follow the name of the setting; null when it breaks none. */
export function databaseUrlProblem(text: string): string | null {
  const url = URL.parse(text);
  if (url === null || !hasShape(url)) return shape;
  for (const [name, value] of url.searchParams) {
    const values = Object.hasOwn(PARAMETERS, name) ? PARAMETERS[name] : undefined;
    if (values === undefined) {
      return `takes no parameters but ${Object.keys(PARAMETERS).join(", ")}`;
    }
    if (values.length > 0 && !values.includes(value)) {
      return `its ${name} must be one of ${values.join(", ")}`;
    }
  }
  return null;
}

function hasShape({ protocol, username, password, hostname, pathname, hash }: URL): boolean {
  return (
    /^postgres(ql)?:$/.test(protocol) &&
    username !== "" &&
    // One host: of several the client would take turns, and the lock of one says nothing of the others.
    /^[^,%]+$/.test(hostname) &&
    // The client takes the database's name as it stands here, without decoding it.
    /^\/[^/%]+$/.test(pathname) &&
    hash === "" &&
    [username, password].every(isDecodable)
  );
}

/** A percent sign that encodes nothing would make the client throw; NUL ends a text of the protocol. */
function isDecodable(part: string): boolean {
  try {
    return !decodeURIComponent(part).includes("\0");
  } catch {
    return false;
  }
}
