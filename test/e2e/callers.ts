/**
 * Callers who go on whatever they are answered, for tests in which the database comes and goes. They
 * keep account of what was acknowledged, of how long anybody waited, and of every answer that a server
 * without its database may not give.
 */
import { adminLogin, type TestServer } from "./server.ts";
import { deploy, problemOf } from "./steps.ts";

/** What a failed answer may say: that something is away or full, or that a script did not bear it. */
const allowed: Readonly<Record<number, readonly string[]>> = {
  502: ["script_error"],
  503: ["unavailable", "overloaded", "sandbox_lost"],
};
/** Longer than anybody may wait, so that who waits too long is seen as such. */
const giveUpMs = 30_000;
const pauseMs = 20;
const loginPauseMs = 400;

export interface Account {
  /** Milliseconds that the slowest answer took, and whose it was. */
  slowest: { ms: number; what: string };
  /** `count 200` → how often. */
  readonly answers: Map<string, number>;
  /** Answers that may not be. */
  readonly faults: string[];
  /** The highest value that an increment was answered, and how often one was asked for. */
  acknowledged: number;
  asked: number;
  /** The highest version that a save was answered. */
  version: number;
}

export interface Callers {
  readonly account: Account;
  readonly scriptId: string;
  /** True when a write, a read of the admin API and a save are all done. */
  probe(): Promise<boolean>;
  /** Saves a new version, when no other save is under way; its number, or null when that failed. */
  save(): Promise<number | null>;
  /** Forgets faults and waits; what was acknowledged stays. */
  forget(): void;
  /** Resolves when the last answer is there. */
  stop(): Promise<void>;
}

const source = `import { kv } from "picloud";
export default async (ctx) => {
  const counts = kv.collection("counts");
  const { name } = ctx.request.params;
  if (name === undefined || name === "hello") return ctx.scriptVersion;
  return ctx.request.method === "POST" ? counts.increment(name) : ((await counts.get(name)) ?? 0);
};
`;

/** Deploys a script and starts its callers: two a kind, about 200 requests a second in all. */
export async function startCallers(server: TestServer): Promise<Callers> {
  const { script } = await deploy(server.client, {
    name: "outage",
    source,
    path: "/outage/:name",
  });
  const callers = new Crowd(server, script.id);
  callers.start();
  return callers;
}

class Crowd implements Callers {
  readonly account: Account = {
    slowest: { ms: 0, what: "" },
    answers: new Map(),
    faults: [],
    acknowledged: 0,
    asked: 0,
    version: 1,
  };
  #isStopped = false;
  #loops: Promise<void>[] = [];
  #saves = 0;
  #saving: Promise<number | null> | null = null;

  constructor(
    private readonly server: TestServer,
    readonly scriptId: string,
  ) {}

  start(): void {
    const steps: [step: () => Promise<unknown>, pauseMs: number][] = [
      [() => this.#route("hello"), pauseMs],
      [() => this.#route("read"), pauseMs],
      [() => this.#route("read"), pauseMs],
      [() => this.#increment(), pauseMs],
      [() => this.#admin("GET", `/scripts/${this.scriptId}`), pauseMs],
      [() => this.#admin("GET", "/scripts"), pauseMs],
      [() => this.#execute(), pauseMs],
      [() => this.#login(), loginPauseMs],
    ];
    this.#loops = steps.map(async ([step, ms]) => {
      while (!this.#isStopped) {
        await step();
        await Bun.sleep(ms);
      }
    });
  }

  async probe(): Promise<boolean> {
    const done = await Promise.all([
      this.#call("probe", `${this.server.url}/outage/probe`, { method: "POST" }),
      this.#admin("GET", `/scripts/${this.scriptId}`),
      // Two at a time would refuse each other.
      this.#saving === null ? this.save() : "under way",
    ]);
    return done.every((result) => result !== null);
  }

  async save(): Promise<number | null> {
    await this.#saving;
    this.#saving = this.#save().finally(() => {
      this.#saving = null;
    });
    return this.#saving;
  }

  async #save(): Promise<number | null> {
    this.#saves += 1;
    const body = JSON.stringify({ source: `${source}// ${this.#saves}` });
    const text = await this.#admin("PATCH", `/scripts/${this.scriptId}`, body);
    if (text === null) return null;
    const { active_version } = JSON.parse(text) as { active_version: { number: number } };
    this.account.version = Math.max(this.account.version, active_version.number);
    return active_version.number;
  }

  forget(): void {
    this.account.faults.length = 0;
    this.account.answers.clear();
    this.account.slowest = { ms: 0, what: "" };
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#loops);
    await this.#saving;
  }

  #route(name: string): Promise<string | null> {
    return this.#call(name, `${this.server.url}/outage/${name}`);
  }

  async #increment(): Promise<void> {
    const { account } = this;
    account.asked += 1;
    const text = await this.#call("count", `${this.server.url}/outage/count`, { method: "POST" });
    if (text === null) return;
    if (Number(text) <= account.acknowledged) {
      account.faults.push(`count: ${text} after ${account.acknowledged}`);
    }
    account.acknowledged = Number(text);
  }

  #execute(): Promise<string | null> {
    return this.#call("execute", `${this.server.url}/api/v1/execute/${this.scriptId}`, {
      headers: this.#bearer(),
    });
  }

  #login(): Promise<string | null> {
    return this.#call("login", `${this.server.url}/api/v1/admin/auth/login`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(adminLogin),
    });
  }

  #admin(method: string, path: string, body?: string): Promise<string | null> {
    return this.#call(`admin ${method}`, `${this.server.url}/api/v1/admin${path}`, {
      method,
      headers: { ...this.#bearer(), "content-type": "application/json" },
      ...(body === undefined ? {} : { body }),
    });
  }

  #bearer(): Record<string, string> {
    return { authorization: `Bearer ${this.server.token}` };
  }

  /** The body of a success; null for a failure that may be. */
  async #call(what: string, url: string, init: RequestInit = {}): Promise<string | null> {
    const { account } = this;
    const began = performance.now();
    try {
      const response = await fetch(url, { ...init, signal: AbortSignal.timeout(giveUpMs) });
      const key = `${what} ${response.status}`;
      account.answers.set(key, (account.answers.get(key) ?? 0) + 1);
      if (response.ok) return await response.text();
      await this.#judge(what, response);
    } catch (error) {
      account.faults.push(`${what}: ${error}`);
    } finally {
      const ms = performance.now() - began;
      if (ms > account.slowest.ms) account.slowest = { ms, what };
    }
    return null;
  }

  async #judge(what: string, response: Response): Promise<void> {
    const { status, headers } = response;
    const { code, detail, title } = await problemOf(response);
    const isAllowed = allowed[status]?.includes(code) === true && title !== "" && detail !== "";
    const waits = status !== 503 || Number(headers.get("retry-after")) >= 1;
    if (!isAllowed || !waits) this.account.faults.push(`${what}: ${status} ${code} ${detail}`);
  }
}
