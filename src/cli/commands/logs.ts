/**
 * `pic logs`: what happened when a script ran, oldest first. Following asks for the newest records about
 * once a second; an execution is recorded when it ends, so that one which took long comes after others
 * that began later. What was shown is known by its id.
 */
import type { Command } from "commander";
import type { PicClient } from "../../client.ts";
import type { ExecutionStatus } from "../../domain/executions.ts";
import {
  cliRowsMax,
  followEveryMs,
  followPageItems,
  followRememberedMax,
  listLimitDefault,
  listLimitMax,
} from "../../domain/limits.ts";
import type { WireExecution } from "../../schema/executions.ts";
import { choiceOption } from "../choice.ts";
import type { PicContext } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { explain, PicFailure, usageFailure } from "../failures.ts";
import { untilInterrupted } from "../interruption.ts";
import type { Column } from "../output.ts";
import { printable } from "../printable.ts";
import {
  type AppChoice,
  appMeaning,
  appOption,
  scriptId,
  scriptMeaning,
} from "../script-choice.ts";
import { timeAgo } from "../when.ts";
import { wholeNumber } from "../whole-number.ts";

interface LogsOptions extends AppChoice {
  follow?: boolean;
  status?: ExecutionStatus;
  since?: string;
  limit?: number;
}

/** Which records are wanted. */
interface Wanted {
  status: ExecutionStatus | null;
  /** Epoch ms. */
  since: number | null;
}

const statuses = [
  "success",
  "error",
  "timeout",
  "budget_exceeded",
  "overloaded",
  "sandbox_lost",
] as const satisfies readonly ExecutionStatus[];

const columns: readonly Column<WireExecution>[] = [
  { title: "STARTED", value: ({ started_at }) => started_at },
  { title: "STATUS", value: ({ status }) => status },
  { title: "CODE", value: ({ status_code }) => status_code },
  { title: "MS", value: ({ duration_ms }) => duration_ms },
  { title: "VERSION", value: ({ version }) => version },
  { title: "WHAT", value: whatOf },
  { title: "ERROR", value: ({ error }) => error && `${error.name}: ${error.message}` },
  { title: "LOGS", value: ({ logs }) => (logs.length === 0 ? "" : JSON.stringify(logs)) },
  { title: "ID", value: ({ id }) => id },
];

export function registerLogs(program: Command, pic: PicContext): void {
  program
    .command("logs")
    .summary("show what happened when a script ran")
    .argument("<script>", scriptMeaning)
    .option(appOption, appMeaning)
    .option("-f, --follow", "go on with what happens, until Ctrl-C")
    .addOption(choiceOption("--status <status>", "only runs that ended so", statuses))
    .option("--since <when>", "like 10m, 2h or 2030-01-31T12:00:00Z")
    .option(
      "--limit <count>",
      `at most the last so many; default: ${listLimitDefault}`,
      wholeNumber,
    )
    .action((script: string, options: LogsOptions) => logs(pic, script, options));
}

async function logs(pic: PicContext, script: string, options: LogsOptions): Promise<void> {
  const { follow = false, status = null, since, limit } = options;
  const wanted: Wanted = {
    status,
    since: since === undefined ? null : timeAgo(since, pic.around.now(), "--since"),
  };
  const max = limit ?? (since === undefined ? listLimitDefault : cliRowsMax);
  if (max < 1 || max > cliRowsMax) throw usageFailure(`--limit is from 1 to ${cliRowsMax}`);
  using interruption = untilInterrupted();
  const { signal } = interruption;
  const client = pic.client({ signal });
  try {
    const id = await scriptId(pic, client, script, options);
    const { items, hasMore } = await lastRecords(client, id, wanted, max);
    for (const record of items.toReversed()) show(pic, record);
    if (hasMore && !follow && limit === undefined) {
      pic.output.note(`These are the last ${items.length}; --limit and --since show more.`);
    }
    if (follow) await followRecords(pic, client, { id, wanted, shown: items, signal });
  } catch (error) {
    // Ctrl-C while an answer was on its way.
    if (!signal.aborted) throw error;
  }
}

/** Newest first. */
async function lastRecords(
  client: PicClient,
  id: string,
  wanted: Wanted,
  max: number,
): Promise<{ items: WireExecution[]; hasMore: boolean }> {
  const items: WireExecution[] = [];
  let cursor: string | null = null;
  for (let looked = 0; looked < cliRowsMax; ) {
    const limit = wanted.status === null ? Math.min(listLimitMax, max) : listLimitMax;
    const page = await client.scripts.logs(id, { limit, cursor });
    looked += page.items.length;
    for (const record of page.items) {
      if (isBefore(record, wanted.since)) return { items, hasMore: false };
      if (wanted.status !== null && record.status !== wanted.status) continue;
      if (items.length === max) return { items, hasMore: true };
      items.push(record);
    }
    cursor = page.next_cursor;
    if (cursor === null || page.items.length === 0) return { items, hasMore: false };
    if (items.length === max) return { items, hasMore: true };
  }
  return { items, hasMore: true };
}

async function followRecords(
  pic: PicContext,
  client: PicClient,
  options: { id: string; wanted: Wanted; shown: readonly WireExecution[]; signal: AbortSignal },
): Promise<void> {
  const { id, wanted, signal } = options;
  const seen = new SeenIds(options.shown.map((record) => record.id));
  // Without --since what was there before is not news, whatever of it was shown.
  const from = wanted.since ?? newestOf(options.shown) ?? pic.around.now() - followEveryMs;
  const first = await client.scripts.logs(id, { limit: followPageItems });
  if (wanted.since === null) {
    for (const record of first.items) if (isBefore(record, from)) seen.add(record.id);
  }
  let isLost = false;
  for (let page = first; !signal.aborted; ) {
    const news = page.items.filter((record) => seen.add(record.id));
    for (const record of news.toReversed()) {
      if (wanted.status === null || record.status === wanted.status) show(pic, record);
    }
    if (news.length === followPageItems) {
      pic.output.note("There is more than can be shown: some executions are left out.");
    }
    await pause(followEveryMs, signal);
    if (signal.aborted) return;
    try {
      page = await client.scripts.logs(id, { limit: followPageItems });
      isLost = false;
    } catch (error) {
      if (!isAway(error) || signal.aborted) throw error;
      // A server that starts again is worth waiting for.
      if (!isLost) pic.output.warn(`${explainFirst(pic, error)}; still trying`);
      isLost = true;
      page = { items: [], next_cursor: null };
    }
  }
}

/** The ids of what was shown last. */
class SeenIds {
  readonly #ids: Set<string>;

  constructor(ids: readonly string[]) {
    this.#ids = new Set(ids);
  }

  /** True when it is new. */
  add(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    const [oldest] = this.#ids;
    if (this.#ids.size > followRememberedMax && oldest !== undefined) this.#ids.delete(oldest);
    return true;
  }
}

function show(pic: PicContext, record: WireExecution): void {
  if (pic.output.format !== "table") {
    pic.output.row(record, columns);
    return;
  }
  for (const line of linesOf(record)) pic.output.text(`${printable(line).replace(/^ /, "   ")}\n`);
}

/** For people: one line, and one for each log entry and each line of the error's stack. */
function linesOf(record: WireExecution): string[] {
  const {
    started_at,
    status,
    status_code,
    duration_ms,
    version,
    id,
    logs: entries,
    error,
  } = record;
  const ms = `${duration_ms.toFixed(1)} ms`;
  const head = [started_at, status, status_code, ms, `v${version}`, whatOf(record), id].join("  ");
  const said = entries.map(({ level, message, fields }) => {
    const more = fields === null ? "" : ` ${JSON.stringify(fields)}`;
    return ` ${level.padEnd(5)} ${message}${more}`;
  });
  const dropped = record.logs_dropped === 0 ? [] : [` … and ${record.logs_dropped} more`];
  return [head, ...said, ...dropped, ...(error === null ? [] : errorLines(error))];
}

/** The first line is what was thrown; the stack has the author's own lines. */
function errorLines({ name, message, stack }: NonNullable<WireExecution["error"]>): string[] {
  const first = `${name}: ${message}`;
  const rest = (stack.startsWith(first) ? stack.slice(first.length) : stack)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return [` ${first}`, ...rest.map((line) => `   ${line}`)];
}

function whatOf({ invocation, request, event }: WireExecution): string {
  if (event !== null) return `${event.source} ${event.type}, attempt ${event.attempt}`;
  return request === null ? invocation : `${invocation} ${request.method} ${request.path}`;
}

function isBefore({ started_at }: WireExecution, since: number | null): boolean {
  return since !== null && Date.parse(started_at) < since;
}

function newestOf(records: readonly WireExecution[]): number | null {
  const [newest] = records;
  return newest === undefined ? null : Date.parse(newest.started_at);
}

function isAway(error: unknown): boolean {
  return error instanceof PicFailure && error.options.exit === EXIT.unreachable;
}

function explainFirst(pic: PicContext, error: unknown): string {
  return explain(error, { url: pic.url(), isTokenSet: false }).lines[0] ?? "The server is away";
}

/** Resolves at once when the signal is given. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}
