/**
 * The typed client of the HTTP API, for the CLI, the dashboard and the tests. It takes only types
 * from the schemas, so that no validator is bundled with it.
 */

import { accessCalls } from "./client-access.ts";
import { type ApiCalls, type PageOptions, part, type Query, type Sent } from "./client-calls.ts";
import { dataCalls } from "./client-data.ts";
import type {
  LoginInput,
  LoginOutput,
  PasswordInput,
  SetupInput,
  WireEndedSessions,
  WireMe,
  WireSession,
} from "./schema/accounts.ts";
import type { AppInput, AppPatch, WireApp } from "./schema/apps.ts";
import type {
  DeadLetterBatchInput,
  DeadLetterFilterInput,
  DeadLetterNoteInput,
  DeadLetterPurgeInput,
  WireDeadLetter,
  WireDeadLetterCounts,
  WireDeadLetterProgress,
  WireWholeDeadLetter,
} from "./schema/dead-letters.ts";
import type { WireExecution } from "./schema/executions.ts";
import type { DeploymentInput, WireDeployment } from "./schema/manifest.ts";
import type { WirePage } from "./schema/pages.ts";
import type {
  CheckInput,
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
import type {
  CronPreviewInput,
  CronTriggerInput,
  CronTriggerPatch,
  DataTriggerInput,
  DataTriggerPatch,
  DeadLetterTriggerInput,
  DeadLetterTriggerPatch,
  WireCronPreview,
  WireCronTrigger,
  WireDataTrigger,
  WireDeadLetterTrigger,
  WireTrigger,
} from "./schema/triggers.ts";

export type { PageOptions } from "./client-calls.ts";

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

export interface ScriptFilterInput {
  /** Id or slug. */
  app?: string;
  kind?: string;
  /** A part of the name or of the description. */
  q?: string;
  /** All of the name. */
  name?: string;
}

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
    me: () => this.#call<WireMe>("GET", "/auth/me"),
    changePassword: (input: PasswordInput) =>
      this.#call<void>("POST", "/auth/password", { body: input }),
    sessions: (page: PageOptions = {}) =>
      this.#call<WirePage<WireSession>>("GET", "/auth/sessions", { query: { ...page } }),
    endSession: (id: string) => this.#call<void>("DELETE", `/auth/sessions/${part(id)}`),
    endOtherSessions: () => this.#call<WireEndedSessions>("DELETE", "/auth/sessions"),
  };

  readonly #calls: ApiCalls = {
    call: (method, path, sent) => this.#call(method, path, sent),
    send: (method, path, sent) => this.#send(method, path, sent),
  };
  readonly #access = accessCalls(this.#calls);
  readonly #data = dataCalls(this.#calls);

  readonly audit = this.#access.audit;
  readonly accounts = this.#access.accounts;
  readonly hosts = this.#access.hosts;
  readonly apiKeys = this.#access.apiKeys;
  readonly members = this.#access.members;
  readonly kv = this.#data.kv;
  readonly docs = this.#data.docs;

  readonly apps = {
    create: (input: AppInput) => this.#call<WireApp>("POST", "/apps", { body: input }),
    list: (page: PageOptions = {}) =>
      this.#call<WirePage<WireApp>>("GET", "/apps", { query: { ...page } }),
    /** @param app id or slug */
    get: (app: string) => this.#call<WireApp>("GET", `/apps/${part(app)}`),
    update: (app: string, patch: AppPatch) =>
      this.#call<WireApp>("PATCH", `/apps/${part(app)}`, { body: patch }),
    delete: (app: string, options: { force?: boolean } = {}) =>
      this.#call<void>("DELETE", `/apps/${part(app)}`, { query: options }),
  };

  readonly scripts = {
    create: (input: ScriptInput) =>
      this.#call<WireSavedScript>("POST", "/scripts", { body: input }),
    list: (filter: ScriptFilterInput & PageOptions = {}) =>
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
    check: (input: CheckInput) => this.#call<CheckOutput>("POST", "/routes/check", { body: input }),
    match: (input: MatchInput) => this.#call<MatchOutput>("POST", "/routes/match", { body: input }),
  };

  /** @param app id or slug */
  readonly deployments = {
    /** Makes the app what the manifest says, or says with `dry_run` what that would change. */
    create: (app: string, input: DeploymentInput) =>
      this.#call<WireDeployment>("POST", `/apps/${part(app)}/deployments`, { body: input }),
  };

  /** What an app's events run. @param app id or slug */
  readonly triggers = {
    list: (app: string, page: PageOptions = {}) =>
      this.#call<WirePage<WireTrigger>>("GET", `/apps/${part(app)}/triggers`, {
        query: { ...page },
      }),
    listOfScript: (scriptId: string, page: PageOptions = {}) =>
      this.#call<WirePage<WireTrigger>>("GET", `/scripts/${part(scriptId)}/triggers`, {
        query: { ...page },
      }),
    kv: this.#triggersOf<DataTriggerInput, DataTriggerPatch, WireDataTrigger>("kv"),
    docs: this.#triggersOf<DataTriggerInput, DataTriggerPatch, WireDataTrigger>("docs"),
    cron: this.#triggersOf<CronTriggerInput, CronTriggerPatch, WireCronTrigger>("cron"),
    deadLetter: this.#triggersOf<
      DeadLetterTriggerInput,
      DeadLetterTriggerPatch,
      WireDeadLetterTrigger
    >("dead_letter"),
    previewCron: (app: string, input: CronPreviewInput) =>
      this.#call<WireCronPreview>("POST", `/apps/${part(app)}/triggers/cron/preview`, {
        body: input,
      }),
  };

  /** @param app id or slug */
  readonly deadLetters = {
    list: (app: string, filter: DeadLetterFilterInput & PageOptions = {}) =>
      this.#call<WirePage<WireDeadLetter>>("GET", `/apps/${part(app)}/dead-letters`, {
        query: { ...filter },
      }),
    counts: (app: string) =>
      this.#call<WireDeadLetterCounts>("GET", `/apps/${part(app)}/dead-letters/counts`),
    get: (app: string, id: string) =>
      this.#call<WireWholeDeadLetter>("GET", `/apps/${part(app)}/dead-letters/${part(id)}`),
    replay: (app: string, id: string, input: DeadLetterNoteInput = {}) =>
      this.#call<WireDeadLetter>("POST", `/apps/${part(app)}/dead-letters/${part(id)}/replay`, {
        body: input,
      }),
    resolve: (app: string, id: string, input: DeadLetterNoteInput = {}) =>
      this.#call<WireDeadLetter>("POST", `/apps/${part(app)}/dead-letters/${part(id)}/resolve`, {
        body: input,
      }),
    /** A bounded number of them: again while the answer says that there are more. */
    replayAll: (app: string, input: DeadLetterBatchInput) =>
      this.#call<WireDeadLetterProgress>("POST", `/apps/${part(app)}/dead-letters/replay`, {
        body: input,
      }),
    resolveAll: (app: string, input: DeadLetterBatchInput) =>
      this.#call<WireDeadLetterProgress>("POST", `/apps/${part(app)}/dead-letters/resolve`, {
        body: input,
      }),
    purge: (app: string, input: DeadLetterPurgeInput) =>
      this.#call<WireDeadLetterProgress>("POST", `/apps/${part(app)}/dead-letters/purge`, {
        body: input,
      }),
  };

  readonly executions = {
    get: (id: string) => this.#call<WireExecution>("GET", `/executions/${part(id)}`),
  };

  #use(login: LoginOutput): LoginOutput {
    this.#token = login.token;
    return login;
  }

  #triggersOf<Input, Patch, Wire>(kind: string) {
    const all = (app: string) => `/apps/${part(app)}/triggers/${kind}`;
    const one = (app: string, id: string) => `${all(app)}/${part(id)}`;
    return {
      create: (app: string, input: Input) => this.#call<Wire>("POST", all(app), { body: input }),
      list: (app: string, page: PageOptions = {}) =>
        this.#call<WirePage<Wire>>("GET", all(app), { query: { ...page } }),
      get: (app: string, id: string) => this.#call<Wire>("GET", one(app, id)),
      update: (app: string, id: string, patch: Patch) =>
        this.#call<Wire>("PATCH", one(app, id), { body: patch }),
      delete: (app: string, id: string) => this.#call<void>("DELETE", one(app, id)),
    };
  }

  async #call<T>(
    method: string,
    path: string,
    { body, query = {} }: { body?: unknown; query?: Query } = {},
  ): Promise<T> {
    const sent = body === undefined ? { query } : { query, json: JSON.stringify(body) };
    const response = await this.#send(method, path, sent);
    // A 204 has nothing to read; the calls that can get one promise nothing.
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  /** The answer, unread. */
  async #send(method: string, path: string, { query, json, lines }: Sent): Promise<Response> {
    const headers = new Headers({ accept: "application/json, application/x-ndjson" });
    if (this.#token !== undefined) headers.set("authorization", `Bearer ${this.#token}`);
    if (json !== undefined) headers.set("content-type", "application/json");
    if (lines !== undefined) headers.set("content-type", "application/x-ndjson");
    const body = json ?? lines;
    const request = new Request(this.#address(path, query), {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    });
    const response = await (this.options.fetch ?? fetch)(request);
    if (!response.ok) throw await failure(response);
    return response;
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
