import { describe, expect, test } from "bun:test";
import {
  ConfigError,
  type Loaded,
  loadConfig,
  type RoleArguments,
  readSupervisor,
  type Surroundings,
} from "../src/config.ts";
import { LIMIT_CEILINGS } from "../src/domain/limits.ts";
import { settingRows } from "../src/settings.ts";

interface Setup {
  args?: string[];
  env?: Record<string, string>;
  files?: Record<string, string>;
  memoryBytes?: number;
  isTerminal?: boolean;
  role?: RoleArguments;
}

function readFrom(files: Record<string, string>): Surroundings["readFile"] {
  return (path) => {
    const text = files[path];
    if (text === undefined) throw Object.assign(new Error(`ENOENT ${path}`), { code: "ENOENT" });
    return text;
  };
}

function load(setup: Setup = {}): Loaded {
  const around: Surroundings = {
    args: setup.args ?? [],
    env: setup.env ?? {},
    workingDir: "/home/pi",
    self: ["/usr/bin/picloud"],
    memoryBytes: setup.memoryBytes ?? 4 * 1024 ** 3,
    isTerminal: setup.isTerminal ?? false,
    readFile: readFrom(setup.files ?? {}),
  };
  return loadConfig(around, setup.role);
}

function problemsOf(setup: Setup): readonly string[] {
  try {
    load(setup);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe("defaults", () => {
  test("nothing set gives the documented defaults", () => {
    const { config, warnings } = load();
    expect(warnings).toEqual([]);
    expect(config).toEqual({
      bind: { host: "0.0.0.0", port: 8080 },
      adminBind: { host: "0.0.0.0", port: 8081 },
      dataDir: "/home/pi/picloud-data",
      databaseUrl: null,
      publicBaseUrl: null,
      adminUsername: null,
      adminPassword: null,
      sessionTtlHours: 24,
      sandboxes: 2,
      maxConcurrency: 32,
      imageCacheMb: 32,
      appDataMb: 1_024,
      appDataRows: 1_000_000,
      logRetentionDays: 7,
      logMaxMb: 256,
      auditRetentionDays: 365,
      auditMaxMb: 64,
      logFormat: "json",
      logLevel: "info",
      durability: "full",
      command: ["/usr/bin/picloud"],
      ceilings: { ...LIMIT_CEILINGS },
    });
  });

  test("the result is frozen, inside too", () => {
    const { config } = load();
    for (const part of [config, config.bind, config.adminBind, config.ceilings, config.command]) {
      expect(Object.isFrozen(part)).toBe(true);
    }
  });

  test("one sandbox below 1 GB of memory, two from there on", () => {
    expect(load({ memoryBytes: 948_000_000 }).config.sandboxes).toBe(1);
    expect(load({ memoryBytes: 1024 ** 3 }).config.sandboxes).toBe(2);
    expect(
      load({ memoryBytes: 948_000_000, env: { PICLOUD_SANDBOXES: "3" } }).config.sandboxes,
    ).toBe(3);
  });

  test("the data folder is systemd's state folder when there is one, the first of several", () => {
    const env = { STATE_DIRECTORY: "/var/lib/picloud:/var/lib/more" };
    expect(load({ env }).config.dataDir).toBe("/var/lib/picloud");
    expect(load({ env: { ...env, PICLOUD_DATA_DIR: "data" } }).config.dataDir).toBe(
      "/home/pi/data",
    );
  });

  test("the log is pretty on a terminal and JSON elsewhere, unless said otherwise", () => {
    expect(load({ isTerminal: true }).config.logFormat).toBe("pretty");
    expect(load({ isTerminal: true, env: { PICLOUD_LOG_FORMAT: "json" } }).config.logFormat).toBe(
      "json",
    );
    expect(load({ isTerminal: true, env: { PICLOUD_LOG_FORMAT: "auto" } }).config.logFormat).toBe(
      "pretty",
    );
  });
});

describe("where a value comes from", () => {
  const files = {
    "/home/pi/picloud.env": "# ours\n\nPICLOUD_SANDBOXES=4\nPICLOUD_LOG_LEVEL = 'debug'\n",
  };

  test("a flag wins over a variable, a variable over the file, the file over the default", () => {
    const args = ["--config", "picloud.env"];
    expect(load({ files, args }).config.sandboxes).toBe(4);
    const env = { PICLOUD_SANDBOXES: "5" };
    expect(load({ files, args, env }).config.sandboxes).toBe(5);
    expect(load({ files, args: [...args, "--sandboxes=6"], env }).config.sandboxes).toBe(6);
    expect(load({ files, args }).config.logLevel).toBe("debug");
    expect(load({ files, env: { PICLOUD_CONFIG: "picloud.env" } }).config.sandboxes).toBe(4);
  });

  test("every variable may be given as _FILE, less one newline", () => {
    const contents = { "/run/password": "correct horse battery\n", "/run/bind": "127.0.0.1:1\r\n" };
    const { config } = load({
      files: contents,
      env: {
        PICLOUD_ADMIN_USERNAME: "admin",
        PICLOUD_ADMIN_PASSWORD_FILE: "/run/password",
        PICLOUD_BIND_FILE: "/run/bind",
      },
    });
    expect(config.adminPassword).toBe("correct horse battery");
    expect(config.bind).toEqual({ host: "127.0.0.1", port: 1 });
    for (const { name } of settingRows()) {
      if (name === "PICLOUD_CONFIG") continue;
      expect(problemsOf({ env: { [`${name}_FILE`]: "/absent" } })[0]).toBe(
        `${name}_FILE: cannot read "/absent": no such file`,
      );
    }
  });

  test("a variable and its _FILE together are refused, but a flag wins over both kinds", () => {
    const both = { PICLOUD_BIND: "a:1", PICLOUD_BIND_FILE: "/f" };
    expect(problemsOf({ env: both })).toEqual([
      "PICLOUD_BIND and PICLOUD_BIND_FILE are both set; keep one",
    ]);
    const env = { PICLOUD_BIND_FILE: "/absent" };
    expect(load({ env, args: ["--bind", "a:2"] }).config.bind.port).toBe(2);
  });

  test("an empty variable counts as not set", () => {
    expect(load({ env: { PICLOUD_DATABASE_URL: "", PICLOUD_BIND: "" } }).config.bind.port).toBe(
      8080,
    );
  });

  test("child processes are started through the prefix", () => {
    const env = { PICLOUD_CHILD_PREFIX: "emulate -L /root" };
    expect(load({ env }).config.command).toEqual(["emulate", "-L", "/root", "/usr/bin/picloud"]);
  });
});

describe("names", () => {
  test("a misspelled variable is refused with a suggestion", () => {
    const cases: [string, string][] = [
      ["PICLOUD_DATADIR", "PICLOUD_DATA_DIR"],
      ["PICLOUD_SANBDOXES", "PICLOUD_SANDBOXES"],
      ["PICLOUD_SESSION_TTL", "PICLOUD_SESSION_TTL_HOURS"],
      ["PICLOUD_BIND_ADDRESS", "PICLOUD_BIND"],
      ["PICLOUD_ADMIN_PASSWORD_FLIE", "PICLOUD_ADMIN_PASSWORD_FILE"],
      ["PICLOUD_CONFIG_FILE", "PICLOUD_CONFIG"],
    ];
    for (const [typed, meant] of cases) {
      expect(problemsOf({ env: { [typed]: "x" } })).toEqual([
        `unknown variable ${typed}; did you mean ${meant}?`,
      ]);
    }
  });

  test("another unknown variable is only warned about, and one of another program is not seen", () => {
    const { warnings } = load({
      env: { PICLOUD_FROBNICATION: "1", PATH: "/bin", PICCLOUD_X: "1" },
    });
    expect(warnings).toEqual(["PICLOUD_FROBNICATION is set, but nothing reads it"]);
  });

  test("what pic reads of the environment is none of the server's business", () => {
    const { warnings } = load({ env: { PICLOUD_URL: "http://pi:8080", PICLOUD_TOKEN: "pic_x" } });
    expect(warnings).toEqual([]);
  });

  test("an unknown flag is refused, with a suggestion when one is near", () => {
    expect(problemsOf({ args: ["--bnd", "x:1"] })).toEqual([
      "unknown flag --bnd; did you mean --bind?",
    ]);
    expect(problemsOf({ args: ["--frobnicate=1"] })).toEqual(["unknown flag --frobnicate"]);
    expect(problemsOf({ args: ["-bind", "a:1"] })[0]).toStartWith("unknown flag -bind");
    expect(problemsOf({ args: ["--BIND", "a:1"] })[0]).toStartWith("unknown flag --BIND");
  });

  test("a flag needs its value and is given once; nothing else may stand on the line", () => {
    expect(problemsOf({ args: ["--bind"] })).toEqual(["--bind: needs a value"]);
    expect(problemsOf({ args: ["--bind", "a:1", "--bind", "a:2"] })).toEqual([
      "--bind: given twice",
    ]);
    expect(problemsOf({ args: ["extra\u001b[31m"] })).toEqual([
      'unexpected argument "extra\\u001b[31m"',
    ]);
  });

  test("a role has switches and positional arguments of its own", () => {
    const role = { switches: ["generate"], positionals: ["username"] };
    const loaded = load({ args: ["ada", "--generate", "--data-dir", "/d"], role });
    expect([...loaded.switches]).toEqual(["generate"]);
    expect(loaded.positionals).toEqual(["ada"]);
    expect(loaded.config.dataDir).toBe("/d");
    expect(problemsOf({ args: ["--genrate"], role })).toEqual([
      "unknown flag --genrate; did you mean --generate?",
      "<username> is missing",
    ]);
  });

  test("the file takes only known names, once each, and says in which line it is wrong", () => {
    const text = [
      "PICLOUD_BNID=a:1",
      "hello",
      "PICLOUD_BIND=a:1",
      "PICLOUD_BIND=a:2",
      "PATH=/x",
    ].join("\n");
    expect(problemsOf({ files: { "/c": text }, args: ["--config=/c"] })).toEqual([
      "/c line 1: unknown name PICLOUD_BNID; did you mean PICLOUD_BIND?",
      "/c line 2: must be NAME=value",
      "/c line 4: PICLOUD_BIND is given twice",
      "/c line 5: unknown name PATH",
    ]);
    expect(problemsOf({ args: ["--config=/absent"] })).toEqual([
      'PICLOUD_CONFIG: cannot read "/absent": no such file',
    ]);
  });
});

describe("bad values", () => {
  test("each names the variable, the rule and the value", () => {
    const cases: [string, string, string][] = [
      ["PICLOUD_SANDBOXES", "many", 'must be a whole number from 1 to 16, but is "many"'],
      ["PICLOUD_SANDBOXES", "0", 'must be a whole number from 1 to 16, but is "0"'],
      ["PICLOUD_SANDBOXES", "1e1", 'must be a whole number from 1 to 16, but is "1e1"'],
      ["PICLOUD_LIMIT_CPU_MS", "-5", 'must be a whole number from 1 to 600000, but is "-5"'],
      ["PICLOUD_DURABILITY", "off", 'must be one of full, normal, but is "off"'],
      ["PICLOUD_LOG_LEVEL", "INFO", 'must be one of debug, info, warn, error, but is "INFO"'],
    ];
    for (const [name, value, message] of cases) {
      expect(problemsOf({ env: { [name]: value } })).toEqual([`${name}: ${message}`]);
    }
    for (const value of ["8080", ":8080", "a:b", "a:70000", "[::1:1", "a b:1", "::1:80"]) {
      expect(problemsOf({ env: { PICLOUD_BIND: value } })[0]).toStartWith(
        "PICLOUD_BIND: must be host:port",
      );
    }
    for (const value of [
      "pi.local",
      "ftp://pi",
      "http://u:p@pi",
      "http://pi/?a",
      "http://pi/#a",
      "http://pi/?",
    ]) {
      const [problem] = problemsOf({ env: { PICLOUD_PUBLIC_BASE_URL: value } });
      expect(problem).toStartWith("PICLOUD_PUBLIC_BASE_URL: must be an http or https address");
    }
  });

  test("a long or binary value is shown short and escaped", () => {
    const [problem = ""] = problemsOf({
      env: { PICLOUD_SANDBOXES: `\u0007${"9".repeat(10_000)}` },
    });
    expect(problem.length).toBeLessThan(200);
    expect(problem).toContain("\\u0007999");
  });

  test("all problems are reported at once", () => {
    const env = { PICLOUD_SANDBOXES: "x", PICLOUD_BIND: "y", PICLOUD_BNID: "z" };
    expect(problemsOf({ env, args: ["--nope"] })).toHaveLength(4);
  });

  test("a secret's value is in no message and never on a command line", () => {
    const secret = "hunter2";
    const messages = [
      ...problemsOf({ env: { PICLOUD_ADMIN_USERNAME: "admin", PICLOUD_ADMIN_PASSWORD: secret } }),
      ...problemsOf({ args: ["--admin-password", secret] }),
      ...problemsOf({ args: [`--admin-password=${secret}`] }),
      ...problemsOf({ env: { PICLOUD_DATABASE_URL: `postgres://pi:${secret}@db` } }),
      ...problemsOf({ env: { PICLOUD_DATABASE_URL: `mysql://pi:${secret}@db/x` } }),
      ...problemsOf({ args: ["--database-url", `postgres://pi:${secret}@db/x`] }),
    ];
    expect(messages).toHaveLength(6);
    expect(messages.join("\n")).not.toContain(secret);
    expect(messages[1]).toContain("no place for a secret");
    expect(messages[5]).toBe(
      "--database-url: a command line is no place for a secret; use PICLOUD_DATABASE_URL or --database-url-file",
    );
  });

  test("a database that is not PostgreSQL is refused with the shape that is wanted", () => {
    expect(problemsOf({ env: { PICLOUD_DATABASE_URL: "sqlite:///home/pi/x.db" } })).toEqual([
      "PICLOUD_DATABASE_URL: must be postgres://user:password@host:5432/database; unset it to use SQLite in the data folder",
    ]);
  });

  test("values that do not go together are refused", () => {
    expect(problemsOf({ env: { PICLOUD_ADMIN_USERNAME: "admin" } })).toEqual([
      "PICLOUD_ADMIN_USERNAME and PICLOUD_ADMIN_PASSWORD: set both or neither",
    ]);
    expect(problemsOf({ args: ["--bind", "pi:1", "--admin-bind", "pi:1"] })).toEqual([
      "PICLOUD_BIND and PICLOUD_ADMIN_BIND: must differ, but both are pi:1",
    ]);
    expect(problemsOf({ args: ["--bind", "pi:0", "--admin-bind", "pi:0"] })).toEqual([]);
  });
});

describe("values that are accepted", () => {
  test("a PostgreSQL address, as a variable or from a file, kept as it is", () => {
    const url = "postgresql://pi:p%40ss@db.lan:5433/picloud?sslmode=verify-full";
    expect(load({ env: { PICLOUD_DATABASE_URL: url } }).config.databaseUrl).toBe(url);
    const files = { "/run/secrets/db": `${url}\n` };
    const fromFile = { PICLOUD_DATABASE_URL_FILE: "/run/secrets/db" };
    expect(load({ env: fromFile, files }).config.databaseUrl).toBe(url);
    const args = ["--database-url-file", "/run/secrets/db"];
    expect(load({ args, files }).config.databaseUrl).toBe(url);
  });

  test("addresses, also IPv6; a base address loses its last slash", () => {
    expect(load({ env: { PICLOUD_BIND: "[::1]:0" } }).config.bind).toEqual({
      host: "::1",
      port: 0,
    });
    const env = { PICLOUD_PUBLIC_BASE_URL: "https://Pi.example/base/" };
    expect(load({ env }).config.publicBaseUrl).toBe("https://pi.example/base");
  });

  test("ceilings may be lowered and raised", () => {
    const env = {
      PICLOUD_LIMIT_MEMORY_MB: "16",
      PICLOUD_LIMIT_HOST_CALLS: "50000",
      PICLOUD_LIMIT_LOG_KB: "0",
    };
    expect(load({ env }).config.ceilings).toEqual({
      ...LIMIT_CEILINGS,
      memory_mb: 16,
      host_calls: 50_000,
      log_kb: 0,
    });
  });
});

describe("the service manager", () => {
  const socket = "/run/systemd/notify";

  test("is none without its socket, whatever else is set", () => {
    for (const env of [{}, { NOTIFY_SOCKET: "" }, { WATCHDOG_USEC: "60000000" }]) {
      expect(readSupervisor(env, 7)).toEqual({ supervisor: null, problem: null });
    }
  });

  test("is named by a path or an abstract name, with the time after which it gives up", () => {
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "60000000", WATCHDOG_PID: "7" };
    expect(readSupervisor(env, 7).supervisor).toEqual({ socket, watchdogMs: 60_000 });
    expect(readSupervisor({ NOTIFY_SOCKET: "@abstract/name" }, 7).supervisor).toEqual({
      socket: "@abstract/name",
      watchdogMs: null,
    });
  });

  test("watches another process when it names another", () => {
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "60000000", WATCHDOG_PID: "8" };
    expect(readSupervisor(env, 7).supervisor).toEqual({ socket, watchdogMs: null });
  });

  test("does not watch for a time that is none, and a very long one is shortened", () => {
    const watchdogMs = (text: string) =>
      readSupervisor({ NOTIFY_SOCKET: socket, WATCHDOG_USEC: text }, 7).supervisor?.watchdogMs;
    for (const text of ["", "0", "-1", "1e9", "60s", "18446744073709551615"]) {
      expect({ text, ms: watchdogMs(text) }).toEqual({ text, ms: null });
    }
    expect(watchdogMs("999999999999999")).toBe(3_600_000);
  });

  test("cannot be told over anything but a unix socket, and the log says so", () => {
    for (const name of ["vsock:2:1234", "run/notify", "/", "@", "/a\0b", `/${"x".repeat(107)}`]) {
      const { supervisor, problem } = readSupervisor({ NOTIFY_SOCKET: name }, 7);
      expect({ name, supervisor }).toEqual({ name, supervisor: null });
      expect(problem).toStartWith("NOTIFY_SOCKET is no unix socket:");
    }
    expect(readSupervisor({ NOTIFY_SOCKET: `/${"x".repeat(106)}` }, 7).supervisor).not.toBeNull();
  });
});
