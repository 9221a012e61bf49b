/** What the end-to-end tests do again and again, in the words of a person who uses the API. */
import type { PicClient } from "../../src/client.ts";
import { PicClientError, type Problem } from "../../src/client.ts";
import type { WireExecution } from "../../src/schema/executions.ts";
import type { WireCreatedRoute } from "../../src/schema/routes.ts";
import type { ScriptInput, WireSavedScript } from "../../src/schema/scripts.ts";

export interface Deployed {
  script: WireSavedScript;
  route: WireCreatedRoute;
}

const pollMs = 10;

/** Makes a script and routes a path to it. */
export async function deploy(
  client: PicClient,
  { path, ...input }: ScriptInput & { path: string },
): Promise<Deployed> {
  const script = await client.scripts.create(input);
  const route = await client.routes.create(script.id, { path });
  return { script, route };
}

/** The problem document of an answer, after the checks that hold for every one of them. */
export async function problemOf(response: Response): Promise<Problem> {
  const text = await response.text();
  const type = response.headers.get("content-type");
  if (type !== "application/problem+json") throw new Error(`no problem, but ${type}: ${text}`);
  // The media type is the server's word that it is one.
  const problem = JSON.parse(text) as Problem;
  if (problem.status !== response.status) throw new Error(`two statuses: ${text}`);
  return problem;
}

/** The error of a call that must be refused. */
export async function refusal(call: Promise<unknown>): Promise<PicClientError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof PicClientError) return error;
    throw error;
  }
  throw new Error("the call was not refused");
}

/** The record of the execution that gave this answer. */
export async function recordOf(client: PicClient, response: Response): Promise<WireExecution> {
  const id = response.headers.get("x-picloud-execution-id");
  if (id === null) throw new Error(`an answer ${response.status} without an execution`);
  return client.executions.get(id);
}

/** Asks until the answer is there. Throws when that takes longer than `msMax`. */
export async function until<T>(
  what: string,
  msMax: number,
  ask: () => Promise<T | null> | T | null,
): Promise<T> {
  const deadline = performance.now() + msMax;
  for (;;) {
    const found = await ask();
    if (found !== null) return found;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${msMax} ms`);
    await Bun.sleep(pollMs);
  }
}
