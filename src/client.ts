/**
 * The typed client of the HTTP API, for the CLI, the dashboard and the tests. It takes only types
 * from the schemas, so that no validator is bundled with it.
 */

import type { LoginInput, LoginOutput, SetupInput, WireAccount } from "./schema/accounts.ts";
import type { AppInput, WireApp } from "./schema/apps.ts";
import type { WireExecution } from "./schema/executions.ts";
import type { WirePage } from "./schema/pages.ts";
import type {
  CheckOutput,
  MatchInput,
  MatchOutput,
  RouteInput,
  WireCreatedRoute,
  WireRoute,
} from "./schema/routes.ts";
import type {
  RollbackInput,
  ScriptInput,
  ScriptPatch,
  WireSavedScript,
  WireScript,
  WireScriptRefs,
  WireScriptSummary,
  WireVersion,
  WireVersionSummary,
} from "./schema/scripts.ts";

export interface ClientOptions {
  /** Of either listener, without a path: `http://pi:8080`. */
  base_url: string;
  /** A session token; absent in a browser, where the cookie serves. */
  token?: string;
  /** For tests. */
  fetch?: (request: Request) => Promise<Response>;
}

/** RFC 9457, as PiCloud fills it in. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  errors?: { path: string; message: string; line?: number; column?: number }[];
  /** What a code needs: `conflicting_route`, `would_delete`, … */
  [member: string]: unknown;
}

/** The server answered with an error. `problem` is null when the answer was no problem document. */
export class PicClientError extends Error {
  override readonly name = "PicClientError";
  constructor(
    readonly status: number,
    readonly code: string,
    readonly problem: Problem | null,
  ) {
    super(problem?.detail ?? `The server answered ${status}`);
  }
}

export interface PageOptions {
  limit?: number;
  cursor?: string | null;
}

type Query = Record<string, string | number | boolean | null | undefined>;

/** Every call throws PicClientError for an answer that is not 2xx, and what fetch throws. */
export class PicClient {
  #token: string | undefined;

  constructor(private readonly options: ClientOptions) {
    this.#token = options.token;
  }

  readonly auth = {
    /** Further calls use the session. */
    login: async (input: LoginInput): Promise<LoginOutput> =>
      this.#use(await this.#call<LoginOutput>("POST", "/auth/login", { body: input })),
    setup: async (input: SetupInput): Promise<LoginOutput> =>
      this.#use(await this.#call<LoginOutput>("POST", "/auth/setup", { body: input })),
    logout: async (): Promise<void> => {
      await this.#call("POST", "/auth/logout");
      this.#token = undefined;
    },
    me: () => this.#call<WireAccount>("GET", "/auth/me"),
  };

  readonly apps = {
    create: (input: AppInput) => this.#call<WireApp>("POST", "/apps", { body: input }),
    list: (page: PageOptions = {}) =>
      this.#call<WirePage<WireApp>>("GET", "/apps", { query: { ...page } }),
    /** @param app id or slug */
    get: (app: string) => this.#call<WireApp>("GET", `/apps/${part(app)}`),
    delete: (app: string, options: { force?: boolean } = {}) =>
      this.#call<void>("DELETE", `/apps/${part(app)}`, { query: options }),
  };

  readonly scripts = {
    create: (input: ScriptInput) =>
      this.#call<WireSavedScript>("POST", "/scripts", { body: input }),
    list: (filter: { app?: string; kind?: string; q?: string } & PageOptions = {}) =>
      this.#call<WirePage<WireScriptSummary>>("GET", "/scripts", { query: { ...filter } }),
    get: (id: string) => this.#call<WireScript>("GET", `/scripts/${part(id)}`),
    update: (id: string, patch: ScriptPatch) =>
      this.#call<WireSavedScript>("PATCH", `/scripts/${part(id)}`, { body: patch }),
    delete: (id: string) => this.#call<void>("DELETE", `/scripts/${part(id)}`),
    versions: (id: string, page: PageOptions = {}) =>
      this.#call<WirePage<WireVersionSummary>>("GET", `/scripts/${part(id)}/versions`, {
        query: { ...page },
      }),
    version: (id: string, number: number) =>
      this.#call<WireVersion>("GET", `/scripts/${part(id)}/versions/${number}`),
    imports: (id: string) => this.#call<WireScriptRefs>("GET", `/scripts/${part(id)}/imports`),
    importedBy: (id: string) =>
      this.#call<WireScriptRefs>("GET", `/scripts/${part(id)}/imported-by`),
    rollback: (id: string, input: RollbackInput) =>
      this.#call<WireSavedScript>("POST", `/scripts/${part(id)}/rollback`, { body: input }),
    logs: (id: string, page: PageOptions = {}) =>
      this.#call<WirePage<WireExecution>>("GET", `/scripts/${part(id)}/logs`, {
        query: { ...page },
      }),
  };

  readonly routes = {
    create: (scriptId: string, input: RouteInput) =>
      this.#call<WireCreatedRoute>("POST", `/scripts/${part(scriptId)}/routes`, { body: input }),
    list: (scriptId: string, page: PageOptions = {}) =>
      this.#call<WirePage<WireRoute>>("GET", `/scripts/${part(scriptId)}/routes`, {
        query: { ...page },
      }),
    get: (id: string) => this.#call<WireRoute>("GET", `/routes/${part(id)}`),
    delete: (id: string) => this.#call<void>("DELETE", `/routes/${part(id)}`),
    check: (input: RouteInput) => this.#call<CheckOutput>("POST", "/routes/check", { body: input }),
    match: (input: MatchInput) => this.#call<MatchOutput>("POST", "/routes/match", { body: input }),
  };

  readonly executions = {
    get: (id: string) => this.#call<WireExecution>("GET", `/executions/${part(id)}`),
  };

  #use(login: LoginOutput): LoginOutput {
    this.#token = login.token;
    return login;
  }

  async #call<T>(
    method: string,
    path: string,
    sent: { body?: unknown; query?: Query } = {},
  ): Promise<T> {
    const headers = new Headers({ accept: "application/json" });
    if (this.#token !== undefined) headers.set("authorization", `Bearer ${this.#token}`);
    if (sent.body !== undefined) headers.set("content-type", "application/json");
    const request = new Request(this.#address(path, sent.query ?? {}), {
      method,
      headers,
      ...(sent.body === undefined ? {} : { body: JSON.stringify(sent.body) }),
    });
    const response = await (this.options.fetch ?? fetch)(request);
    if (!response.ok) throw await failure(response);
    // A 204 has nothing to read; the calls that can get one promise nothing.
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  #address(path: string, query: Query): string {
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== null) given.set(name, String(value));
    }
    const search = given.size === 0 ? "" : `?${given}`;
    return `${this.options.base_url.replace(/\/+$/, "")}/api/v1/admin${path}${search}`;
  }
}

function part(text: string): string {
  return encodeURIComponent(text);
}

async function failure(response: Response): Promise<PicClientError> {
  const problem = await readProblem(response);
  return new PicClientError(response.status, problem?.code ?? "unknown", problem);
}

async function readProblem(response: Response): Promise<Problem | null> {
  const isProblem = response.headers.get("content-type")?.includes("application/problem+json");
  try {
    // The media type is the server's word that it is one.
    return isProblem === true ? ((await response.json()) as Problem) : null;
  } catch {
    return null;
  }
}
