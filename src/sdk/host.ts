/**
 * The guest's only door to the process it runs in, taken off the global object before any script is
 * loaded, and the host calls that go through it.
 */
import { REFUSED } from "./operations.ts";

export type Door = (operation: number, a?: unknown, b?: unknown) => unknown;

const scope = globalThis as unknown as Record<string, unknown>;

/** The door. */
export const host = scope.__host as Door;
delete scope.__host;

// Taken before a script can replace them: what a script does to its globals must not change how its
// own result, errors and calls leave it.
export const { stringify, parse } = JSON;
export const { apply, ownKeys } = Reflect;
const NativePromise = Promise;
const NativeError = Error;
const { defineProperty } = Object;

interface Pending {
  resolve: (value: unknown) => void;
  reject: (reason: unknown) => void;
}

let lastCall = 0;
const pending: { [id: number]: Pending | undefined } = nothing();

/** An object without a prototype: nothing that a script put on Object.prototype shows in it. */
export function nothing(): { [key: string]: undefined } & { [key: number]: undefined } {
  return { __proto__: null } as never;
}

/** Asks for something that is answered at once. Throws what `makeError` makes of a refusal. */
export function ask(
  makeError: (message: string) => Error,
  operation: number,
  a?: unknown,
  b?: unknown,
): unknown {
  const answer = host(operation, a, b);
  if (typeof answer === "string" && answer[0] === REFUSED) {
    throw makeError(cut(answer, 1, answer.length));
  }
  return answer;
}

/** Calls a binding. The promise rejects with an Error that carries the binding's `code`. */
export function hostCall(name: string, args: object): Promise<unknown> {
  if (barrier === null) return callWithText(name, () => stringify(args));
  return callWithText(name, barrier);
}

/** The same past the barrier; `makeText` makes the arguments' JSON text, and may throw. */
export function callWithText(name: string, makeText: () => string): Promise<unknown> {
  return new NativePromise((resolve, reject) => {
    const text = makeText();
    lastCall += 1;
    const id = lastCall;
    pending[id] = { __proto__: null, resolve, reject } as never;
    const refusal = host(id, name, text);
    if (typeof refusal !== "string") return;
    delete pending[id];
    reject(new NativeError(cut(refusal, 1, refusal.length)));
  });
}

/** Throws the error of every host call; null: calls are made. */
let barrier: (() => never) | null = null;
export function setBarrier(throwError: (() => never) | null): void {
  barrier = throwError;
}

/** The host's answer to a call. */
export function settle(id: number, ok: number, text: string): void {
  const call = pending[id];
  if (call === undefined) return;
  delete pending[id];
  if (ok === 1) call.resolve(parse(text));
  else call.reject(revive(text));
}

/** A slice of a text that no script can have changed the meaning of. */
export function cut(text: string, from: number, to: number): string {
  return apply(slice, text, [from, to]) as string;
}
const slice = String.prototype.slice;

function revive(text: string): Error {
  const { name, message, code } = parse(text) as Record<string, string>;
  return makeError(message as string, name, code);
}

/** An error as a binding's own. */
export function codedError(code: string, message: string): Error {
  return makeError(message, "PicError", code);
}

function makeError(message: string, name: string | undefined, code: string | undefined): Error {
  const error = new NativeError(message);
  const set = (key: string, value: unknown) =>
    defineProperty(error, key, { value, configurable: true, writable: true, enumerable: false });
  if (name !== undefined && name !== "Error") set("name", name);
  if (code !== undefined) set("code", code);
  return error;
}
