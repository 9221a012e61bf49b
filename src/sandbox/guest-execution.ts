/**
 * One execution as the child sees it: what it may use, what it has used, what it said, and how it
 * ended. No QuickJS here. What the guest says is hostile: every member is checked.
 */
import type { Budget, GuestError, GuestLogLevel, LogEntry } from "../domain/executions.ts";
import {
  guestErrorMessageCharsMax,
  guestErrorStackCharsMax,
  guestTimersMax,
  hostCallBytesMax,
  hostCallsPendingBytesMax,
  responseHeaderBytesMax,
  responseHeadersMax,
} from "../domain/limits.ts";
import { REFUSED } from "../sdk/operations.ts";
import { authorsStack } from "./guest.ts";
import type { BodyKind, DoneHeader, RunHeader } from "./protocol.ts";

/** What an execution asks of the world outside its guest. */
export interface ExecutionPort {
  hostCall(execution: number, call: number, name: string, args: string): void;
  setTimer(execution: number, timer: number, ms: number): void;
  clearTimer(execution: number, timer: number): void;
  now(): number;
}

interface Result {
  statusCode: number;
  headers: Record<string, string>;
  kind: BodyKind;
  body: string;
}

type End =
  | { status: "timeout" }
  | { status: "budget_exceeded"; budget: Budget }
  | { status: "error"; error: GuestError };

/** loading: into an image, where nothing live is to be had. */
export type Phase = "loading" | "running";

const LEVELS: readonly GuestLogLevel[] = ["debug", "info", "warn", "error"];
/** How QuickJS says that something does not fit; a string that is too long is above every limit. */
const MEMORY_MESSAGES = ["out of memory", "string too long"];
const CODE = /^[a-z0-9_]{1,64}$/;

export class GuestExecution {
  phase: Phase = "running";
  /** The script was loaded (OP_LOADED) in this phase. */
  loaded = false;
  /** While loading, the script asked for what no image can hold. */
  neededLive = false;
  cpuMs = 0;
  memoryBytes = 0;
  /** Host calls under way: the bytes of their arguments. Null, as `#timers`, until there is one. */
  #calls: Map<number, number> | null = null;
  #timers: Set<number> | null = null;
  readonly #logs: LogEntry[] = [];
  readonly #cpuMsMax: number;
  #callBytes = 0;
  #logBytes = 0;
  #logsDropped = 0;
  #hostCalls = 0;
  #result: Result | null = null;
  #end: End | null = null;

  constructor(
    readonly id: number,
    readonly header: RunHeader,
    /** `ctx` as JSON text. */
    readonly input: string,
    /** On the monotonic clock. */
    readonly deadline: number,
    private readonly port: ExecutionPort,
  ) {
    this.#cpuMsMax = header.limits.cpu_ms;
  }

  /** It is over and must not be entered again: guest code that still runs is stopped. */
  get ended(): boolean {
    return this.#end !== null;
  }

  /** Nothing more can come of it: DONE can be sent. */
  get finished(): boolean {
    return this.#end !== null || (this.#result !== null && !this.waitsForHost);
  }

  /** It waits, and for something that will come. */
  get waits(): boolean {
    return this.waitsForHost || (this.#timers !== null && this.#timers.size > 0);
  }

  /** What it waits for comes soon, or may. */
  get waitsForHost(): boolean {
    return this.#calls !== null && this.#calls.size > 0;
  }

  /** After an entry: `ms` were spent in it. */
  spend(ms: number): void {
    this.cpuMs += ms;
    if (this.cpuMs > this.#cpuMsMax) this.exceed("cpu_ms");
  }

  /** CPU that is left, milliseconds. */
  get cpuMsLeft(): number {
    return this.#cpuMsMax - this.cpuMs;
  }

  /** Wins over an error: what a script throws for want of memory or time is not its own. */
  exceed(budget: Budget): void {
    if (this.#end === null || this.#end.status === "error") {
      this.#end = { status: "budget_exceeded", budget };
    }
  }

  /** The script was loaded into an image, or could not be: the execution itself begins now. */
  reset(): void {
    this.#end = null;
    this.#result = null;
    this.cpuMs = 0;
    this.memoryBytes = 0;
    this.loaded = false;
    if (!this.neededLive) return;
    // Its top level will speak again.
    this.neededLive = false;
    this.#logs.length = 0;
    this.#logBytes = 0;
    this.#logsDropped = 0;
  }

  expire(): void {
    this.#end ??= { status: "timeout" };
  }

  fail(error: GuestError): void {
    this.#end ??= { status: "error", error };
  }

  /** The error it ended with, when it was one of the script's own. */
  get error(): GuestError | null {
    return this.#end?.status === "error" ? this.#end.error : null;
  }

  /** OP_RESULT: the handler is through. */
  acceptResult(headerJson: string, body: string): void {
    if (this.#result !== null || this.#end !== null) return;
    const bytesMax = this.header.limits.response_kb * 1024;
    const result = body.length > bytesMax ? "too large" : readResult(headerJson, body);
    if (result === "too large" || Buffer.byteLength(result.body, "utf8") > bytesMax) {
      this.exceed("response_kb");
    } else if (result.refusal !== null) {
      const message = `The result cannot be sent: ${result.refusal}`;
      this.fail({ name: "TypeError", message, stack: "" });
    } else this.#result = result;
  }

  /** OP_ERROR: the handler threw. */
  acceptError(json: string): void {
    const thrown = parseObject(json) ?? {};
    if (thrown.name === "InternalError" && MEMORY_MESSAGES.includes(String(thrown.message))) {
      this.exceed("memory_mb");
      return;
    }
    const error: GuestError = {
      name: typeof thrown.name === "string" ? thrown.name : "Error",
      message: String(thrown.message ?? "").slice(0, guestErrorMessageCharsMax),
      stack: authorsStack(String(thrown.stack ?? "")).slice(0, guestErrorStackCharsMax),
    };
    if (typeof thrown.code === "string" && CODE.test(thrown.code)) error.code = thrown.code;
    this.fail(error);
  }

  /** OP_LOG: what does not fit is dropped and counted. */
  acceptLog(json: string): void {
    const bytes = Buffer.byteLength(json, "utf8");
    if (this.#logBytes + bytes > this.header.limits.log_kb * 1024) {
      this.#logsDropped += 1;
      return;
    }
    const entry = parseObject(json);
    const level = LEVELS.find((known) => known === entry?.level);
    if (entry === null || level === undefined || typeof entry.message !== "string") return;
    this.#logBytes += bytes;
    const { fields } = entry;
    this.#logs.push({
      level,
      message: entry.message,
      fields: isRecord(fields) ? fields : null,
      at: this.port.now(),
    });
  }

  /** A host call. Returns a refusal for the guest, or null. */
  acceptCall(call: number, name: string, args: string): string | null {
    if (this.phase === "loading") return this.#refuseLive("A host call");
    this.#hostCalls += 1;
    const { host_calls } = this.header.limits;
    if (this.#hostCalls > host_calls) {
      this.#hostCalls = host_calls;
      this.exceed("host_calls");
      return `${REFUSED}more than ${host_calls} host calls`;
    }
    const bytes = Buffer.byteLength(args, "utf8");
    if (bytes > hostCallBytesMax) return `${REFUSED}the arguments of ${name} are too large`;
    if (this.#callBytes + bytes > hostCallsPendingBytesMax) {
      return `${REFUSED}too many host calls are under way`;
    }
    this.#callBytes += bytes;
    this.#calls ??= new Map();
    this.#calls.set(call, bytes);
    this.port.hostCall(this.id, call, name, args);
    return null;
  }

  /** A reply has come. False: nobody waits for it. */
  acceptReply(call: number): boolean {
    const bytes = this.#calls?.get(call);
    if (bytes === undefined || this.#end !== null) return false;
    this.#calls?.delete(call);
    this.#callBytes -= bytes;
    return true;
  }

  /** OP_TIMER_SET. Returns a refusal for the guest, or null. */
  acceptTimer(id: number, ms: number): string | null {
    if (this.phase === "loading") return this.#refuseLive("A timer");
    this.#timers ??= new Set();
    if (this.#timers.size >= guestTimersMax) return `${REFUSED}more than ${guestTimersMax} timers`;
    this.#timers.add(id);
    this.port.setTimer(this.id, id, ms);
    return null;
  }

  clearTimer(id: number): void {
    if (this.#timers?.delete(id)) this.port.clearTimer(this.id, id);
  }

  /** A timer has come due. False: it was cleared, or the execution is over. */
  acceptFire(id: number): boolean {
    return this.#timers?.delete(id) === true && this.#end === null;
  }

  /** Randomness was asked for. Returns a refusal for the guest, or null. */
  acceptRandomness(): string | null {
    return this.phase === "loading" ? this.#refuseLive("Randomness") : null;
  }

  /** What DONE carries; only after `finished`. */
  done(): { header: DoneHeader; body: string } {
    const end = this.#end;
    const result = end === null ? this.#result : null;
    const header: DoneHeader = {
      status: end?.status ?? "success",
      status_code: result?.statusCode ?? 0,
      headers: result?.headers ?? {},
      body_kind: result?.kind ?? "none",
      error: end?.status === "error" ? end.error : null,
      logs: this.#logs,
      logs_dropped: this.#logsDropped,
      cpu_ms: Math.round(this.cpuMs * 1_000) / 1_000,
      memory_bytes: this.memoryBytes,
      host_calls: this.#hostCalls,
    };
    if (end?.status === "budget_exceeded") header.budget = end.budget;
    return { header, body: result?.body ?? "" };
  }

  #refuseLive(what: string): string {
    this.neededLive = true;
    return `${REFUSED}${what} is not available while a script is loaded`;
  }
}

/** What OP_RESULT says, or why it cannot be sent. */
function readResult(headerJson: string, body: string): Result & { refusal: string | null } {
  const header = parseObject(headerJson) ?? {};
  const { status, kind } = header;
  const headers = checkHeaders(header.headers);
  const text = bodyText(kind, body);
  const isStatus = typeof status === "number" && status >= 200 && status <= 599;
  return {
    statusCode: isStatus ? Math.floor(status) : 0,
    headers: headers ?? {},
    kind: text === null ? "none" : (kind as BodyKind),
    body: text ?? "",
    refusal: !isStatus
      ? "it has no status"
      : headers === null
        ? "its headers are too many or too long"
        : text === null
          ? "its body is not base64"
          : null,
  };
}

/** The body text as it travels; null when it is not what its kind says. */
function bodyText(kind: unknown, body: string): string | null {
  if (kind === "none") return "";
  if (kind === "json") return body;
  if (kind !== "text" && kind !== "base64") return null;
  try {
    const text: unknown = JSON.parse(body);
    if (typeof text !== "string") return null;
    return kind === "text" || isBase64(text) ? text : null;
  } catch {
    return null;
  }
}

function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
}

function checkHeaders(headers: unknown): Record<string, string> | null {
  if (!isRecord(headers)) return null;
  const checked: Record<string, string> = {};
  let bytes = 0;
  let count = 0;
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== "string" || /[\r\n\0]/.test(name + value)) return null;
    bytes += name.length + value.length;
    count += 1;
    if (count > responseHeadersMax || bytes > responseHeaderBytesMax) return null;
    Object.defineProperty(checked, name, { value, enumerable: true, configurable: true });
  }
  return checked;
}

function parseObject(json: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(json);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
