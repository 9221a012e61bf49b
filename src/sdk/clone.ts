/** `structuredClone` (HTML Standard) for the types that a guest has. */
import { DOMException } from "./exceptions.ts";

// <globals>
/** A deep copy. Throws DataCloneError for functions, symbols and what else cannot be copied. */
export type StructuredClone = <T>(value: T, options?: { transfer?: ArrayBuffer[] }) => T;
// </globals>

type Seen = Map<object, unknown>;

const ERRORS: Record<string, ErrorConstructor> = {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

export const structuredClone: StructuredClone = function structuredClone<T>(
  value: T,
  options?: { transfer?: ArrayBuffer[] },
): T {
  const seen: Seen = new Map();
  for (const buffer of options?.transfer ?? []) {
    if (!(buffer instanceof ArrayBuffer) || seen.has(buffer))
      throw uncloneable("a transferred value");
    seen.set(buffer, buffer.transfer());
  }
  return copy(value, seen) as T;
};

function copy(value: unknown, seen: Seen): unknown {
  if (typeof value === "symbol") throw uncloneable("a symbol");
  if (typeof value === "function") throw uncloneable("a function");
  if (typeof value !== "object" || value === null) return value;
  const known = seen.get(value);
  if (known !== undefined) return known;
  const leaf = copyLeaf(value, seen);
  if (leaf !== undefined) {
    seen.set(value, leaf);
    return leaf;
  }
  return copyTree(value, seen);
}

/** Copies what holds no further values. Undefined: it is something else. */
function copyLeaf(value: object, seen: Seen): object | undefined {
  if (value instanceof Date) return new Date(value.getTime());
  if (value instanceof RegExp) return new RegExp(value.source, value.flags);
  if (value instanceof ArrayBuffer) return value.slice(0);
  if (ArrayBuffer.isView(value)) return copyView(value, seen);
  if (value instanceof Boolean || value instanceof Number || value instanceof String) {
    return Object(value.valueOf());
  }
  if (value instanceof BigInt) return Object(value.valueOf());
  if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) {
    throw uncloneable(`a ${value.constructor.name}`);
  }
  if (value instanceof WeakRef || value instanceof Symbol) throw uncloneable("such an object");
  return undefined;
}

function copyView(value: ArrayBufferView, seen: Seen): object {
  const buffer = copy(value.buffer, seen) as ArrayBuffer;
  const View = value.constructor as new (b: ArrayBuffer, at: number, length: number) => object;
  const size = (value as Partial<Uint8Array>).BYTES_PER_ELEMENT ?? 1;
  return new View(buffer, value.byteOffset, value.byteLength / size);
}

function copyTree(value: object, seen: Seen): unknown {
  if (value instanceof Map) {
    const target = new Map();
    seen.set(value, target);
    for (const [key, item] of [...value]) target.set(copy(key, seen), copy(item, seen));
    return target;
  }
  if (value instanceof Set) {
    const target = new Set();
    seen.set(value, target);
    for (const item of [...value]) target.add(copy(item, seen));
    return target;
  }
  if (value instanceof Error) return copyError(value, seen);
  const target: Record<string, unknown> = Array.isArray(value)
    ? (new Array(value.length) as never)
    : {};
  seen.set(value, target);
  for (const key of Object.keys(value)) {
    const item = copy((value as Record<string, unknown>)[key], seen);
    const data = { value: item, writable: true, enumerable: true, configurable: true };
    Object.defineProperty(target, key, data);
  }
  return target;
}

function copyError(value: Error, seen: Seen): Error {
  const Kind = ERRORS[value.name] ?? Error;
  const target = new Kind(value.message);
  seen.set(value, target);
  const keep = (key: string, item: unknown) =>
    Object.defineProperty(target, key, { value: item, writable: true, configurable: true });
  keep("stack", String(value.stack));
  if ("cause" in value) keep("cause", copy(value.cause, seen));
  return target;
}

function uncloneable(what: string): Error {
  return new DOMException(`${what} cannot be cloned`, "DataCloneError") as unknown as Error;
}
