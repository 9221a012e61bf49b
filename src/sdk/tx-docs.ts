/** Documents inside a transaction: the rules of `docs`, applied here, since nothing is written before its end. */
import type { Doc } from "./docs.ts";
import { apply, ask, codedError, cut, parse, stringify } from "./host.ts";
import { OP_RANDOM_UUID } from "./operations.ts";
import { remove, type TxRecord, type TxRecords, valueIn, valueJson } from "./tx-records.ts";

// <declarations>
/** Documents of a collection, inside a transaction: the same rules as outside. */
export interface TxDocsCollection<T extends object = Record<string, unknown>> {
  get(id: string): Promise<Doc<T> | null>;
  insert(document: T & { id?: string }): Promise<Doc<T>>;
  replace(id: string, document: T): Promise<Doc<T>>;
  patch(id: string, changes: object): Promise<Doc<T>>;
  delete(id: string): Promise<boolean>;
}
// </declarations>

type Members = Record<string, unknown>;

const { isArray } = Array;
const { hasOwn, keys, defineProperty } = Object;
const { now } = Date;
const { toString: numberToString } = Number.prototype;
const NativeError = Error;

export function docsCollection<T extends object>(
  records: TxRecords,
  name: string,
): TxDocsCollection<T> {
  const read = (id: string) => records.read("docs", name, id);
  return {
    get: (id) => records.run(async () => valueIn<Doc<T>>(await read(id))),
    insert: (document) =>
      records.run(async () => {
        const copy = copyOf(document, "A document");
        const record = await vacancy(records, name, copy.id);
        return write<T>(records, record, copy);
      }),
    replace: (id, document) =>
      records.run(async () => {
        const copy = copyOf(document, "A document");
        checkId(copy, id);
        return write<T>(records, existing(await read(id)), copy);
      }),
    patch: (id, changes) =>
      records.run(async () => {
        const copy = copyOf(changes, "The changes");
        checkId(copy, id);
        const record = existing(await read(id));
        return write<T>(records, record, merge(valueIn<Members>(record) as Members, copy));
      }),
    delete: (id) => records.run(async () => remove(records, await read(id))),
  };
}

/** Where a document can be inserted. */
async function vacancy(records: TxRecords, name: string, id: unknown): Promise<TxRecord> {
  if (id === undefined) return records.absent("docs", name, newId());
  const record = await records.read("docs", name, id as string);
  if (record.json === null) return record;
  throw codedError("docs_exists", "There is a document with this id");
}

function existing(record: TxRecord): TxRecord {
  if (record.json !== null) return record;
  throw codedError("docs_not_found", "There is no document with this id");
}

function checkId(members: Members, id: string): void {
  if (!hasOwn(members, "id") || members.id === id) return;
  throw codedError("docs_invalid_id", "The id of a document cannot be changed");
}

/** A document has its id among its members, before those that it came with. Returns it. */
function write<T extends object>(records: TxRecords, record: TxRecord, document: Members): Doc<T> {
  const whole = hasOwn(document, "id") ? document : { id: record.key, ...document };
  records.write(record, stringify(whole));
  return valueIn<Doc<T>>(record) as Doc<T>;
}

/** As it is now, and as JSON. */
function copyOf(value: object, what: string): Members {
  const copy: unknown = parse(valueJson("docs", value));
  if (typeof copy === "object" && copy !== null && !isArray(copy)) return copy as Members;
  throw codedError("docs_invalid_value", `${what} must be an object`);
}

/** RFC 7396. The result may share parts with both. */
function merge(target: Members, patch: Members): Members {
  const merged = { ...target };
  const names = keys(patch);
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index] as string;
    const change = patch[name];
    if (change === null) {
      delete merged[name];
      continue;
    }
    const old = hasOwn(merged, name) ? merged[name] : undefined;
    const value = isObject(change) ? merge(isObject(old) ? old : {}, change) : change;
    // An assignment to `__proto__` would not make a member.
    defineProperty(merged, name, { value, configurable: true, enumerable: true, writable: true });
  }
  return merged;
}

function isObject(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !isArray(value);
}

/** UUIDv7 (RFC 9562): 48 bits of time, the version, and what is random. */
function newId(): string {
  const uuid = ask((message) => new NativeError(message), OP_RANDOM_UUID) as string;
  const time = `00000000000${apply(numberToString, now(), [16]) as string}`;
  const digits = cut(time, time.length - 12, time.length);
  return `${cut(digits, 0, 8)}-${cut(digits, 8, 12)}-7${cut(uuid, 15, uuid.length)}`;
}
