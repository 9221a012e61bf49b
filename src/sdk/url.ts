/**
 * `URL` and `URLSearchParams` (URL Standard). Parsing is the host's: its parser is complete and quick,
 * and a guest that carries its own would make every image larger.
 */
import { ask, parse, stringify } from "./host.ts";
import { OP_URL_PARSE, OP_URL_SET } from "./operations.ts";
import { utf8Text } from "./text.ts";

// <globals>
/** An address and its parts. */
export interface URL {
  href: string;
  readonly origin: string;
  protocol: string;
  username: string;
  password: string;
  host: string;
  hostname: string;
  port: string;
  pathname: string;
  search: string;
  hash: string;
  readonly searchParams: URLSearchParams;
  toString(): string;
  toJSON(): string;
}
export interface URLConstructor {
  /** Throws TypeError for what is no address. */
  new (url: string | URL, base?: string | URL): URL;
  readonly prototype: URL;
  parse(url: string | URL, base?: string | URL): URL | null;
  canParse(url: string | URL, base?: string | URL): boolean;
}
/** Names and values of a query; a name may come more than once. */
export interface URLSearchParams {
  readonly size: number;
  append(name: string, value: string): void;
  delete(name: string, value?: string): void;
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string, value?: string): boolean;
  set(name: string, value: string): void;
  sort(): void;
  forEach(callback: (value: string, name: string, params: URLSearchParams) => void): void;
  entries(): IterableIterator<[string, string]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
  toString(): string;
}
export interface URLSearchParamsConstructor {
  new (
    init?: string | Record<string, string> | Iterable<readonly [string, string]> | URLSearchParams,
  ): URLSearchParams;
  readonly prototype: URLSearchParams;
}
// </globals>

type Part =
  | "href"
  | "protocol"
  | "username"
  | "password"
  | "host"
  | "hostname"
  | "port"
  | "pathname"
  | "search"
  | "hash";
type Parts = Record<Part | "origin", string>;
type Pair = [name: string, value: string];

/** Set by URLSearchParams so that URL alone can reach into it. */
let replacePairs: (params: URLSearchParams, query: string) => void = () => {};
let linkTo: (params: URLSearchParams, onChange: (query: string) => void) => void = () => {};

export const URLSearchParams = class URLSearchParams {
  #pairs: Pair[];
  #onChange: ((query: string) => void) | null = null;

  static {
    replacePairs = (params, query) => {
      (params as unknown as URLSearchParams).#pairs = parseQuery(query);
    };
    linkTo = (params, onChange) => {
      (params as unknown as URLSearchParams).#onChange = onChange;
    };
  }

  constructor(init: unknown = "") {
    this.#pairs = pairsOf(init);
  }
  get size(): number {
    return this.#pairs.length;
  }
  append(name: string, value: string): void {
    this.#pairs.push([text(name), text(value)]);
    this.#changed();
  }
  delete(name: string, value?: string): void {
    const n = text(name);
    const v = value === undefined ? undefined : text(value);
    this.#pairs = this.#pairs.filter((pair) => pair[0] !== n || (v !== undefined && pair[1] !== v));
    this.#changed();
  }
  get(name: string): string | null {
    const n = text(name);
    return this.#pairs.find((pair) => pair[0] === n)?.[1] ?? null;
  }
  getAll(name: string): string[] {
    const n = text(name);
    return this.#pairs.filter((pair) => pair[0] === n).map((pair) => pair[1]);
  }
  has(name: string, value?: string): boolean {
    const n = text(name);
    const v = value === undefined ? undefined : text(value);
    return this.#pairs.some((pair) => pair[0] === n && (v === undefined || pair[1] === v));
  }
  set(name: string, value: string): void {
    const n = text(name);
    const first = this.#pairs.find((pair) => pair[0] === n);
    if (first === undefined) this.#pairs.push([n, text(value)]);
    else {
      first[1] = text(value);
      this.#pairs = this.#pairs.filter((pair) => pair === first || pair[0] !== n);
    }
    this.#changed();
  }
  sort(): void {
    this.#pairs.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
    this.#changed();
  }
  forEach(callback: (value: string, name: string, params: unknown) => void, self?: unknown): void {
    if (typeof callback !== "function") throw new TypeError("forEach takes a function");
    for (const [name, value] of this) callback.call(self, value, name, this);
  }
  *entries(): Generator<Pair> {
    for (let index = 0; index < this.#pairs.length; index += 1) {
      const [name, value] = this.#pairs[index] as Pair;
      yield [name, value];
    }
  }
  *keys(): Generator<string> {
    for (const pair of this.entries()) yield pair[0];
  }
  *values(): Generator<string> {
    for (const pair of this.entries()) yield pair[1];
  }
  [Symbol.iterator](): Generator<Pair> {
    return this.entries();
  }
  toString(): string {
    return this.#pairs.map(([name, value]) => `${escapeForm(name)}=${escapeForm(value)}`).join("&");
  }
  #changed(): void {
    this.#onChange?.(this.toString());
  }
} as unknown as URLSearchParamsConstructor;

export const URL = class URL {
  #parts: Parts;
  #params: URLSearchParams | null = null;

  constructor(url: unknown, base?: unknown) {
    this.#parts = parseUrl(url, base);
  }
  static parse(url: unknown, base?: unknown): URL | null {
    try {
      return new URL(url, base);
    } catch {
      return null;
    }
  }
  static canParse(url: unknown, base?: unknown): boolean {
    return URL.parse(url, base) !== null;
  }
  get searchParams(): URLSearchParams {
    if (this.#params === null) {
      this.#params = new URLSearchParams(this.#parts.search);
      linkTo(this.#params, (query) => this.#set("search", query));
    }
    return this.#params;
  }
  get origin(): string {
    return this.#parts.origin;
  }
  toString(): string {
    return this.#parts.href;
  }
  toJSON(): string {
    return this.#parts.href;
  }
  static {
    const parts: Part[] = [
      "href",
      "protocol",
      "username",
      "password",
      "host",
      "hostname",
      "port",
      "pathname",
      "search",
      "hash",
    ];
    for (const part of parts) {
      Object.defineProperty(URL.prototype, part, {
        configurable: true,
        enumerable: true,
        get(this: URL) {
          return this.#parts[part];
        },
        set(this: URL, value: unknown) {
          if (part === "href") this.#parts = parseUrl(value, undefined);
          else this.#set(part, String(value));
          if (this.#params !== null && (part === "href" || part === "search")) {
            replacePairs(this.#params, this.#parts.search);
          }
        },
      });
    }
  }
  #set(part: Part, value: string): void {
    const request = stringify([this.#parts.href, part, value]);
    this.#parts = parse(ask(invalidUrl, OP_URL_SET, request) as string);
  }
} as unknown as URLConstructor;

function parseUrl(url: unknown, base: unknown): Parts {
  const request = stringify([String(url), base === undefined ? null : String(base)]);
  return parse(ask(invalidUrl, OP_URL_PARSE, request) as string);
}

function invalidUrl(message: string): Error {
  return new TypeError(message);
}

function pairsOf(init: unknown): Pair[] {
  if (init === null || (typeof init !== "object" && typeof init !== "function")) {
    const query = text(init);
    return parseQuery(query[0] === "?" ? query.slice(1) : query);
  }
  if (typeof (init as Iterable<unknown>)[Symbol.iterator] === "function") {
    return Array.from(init as Iterable<Iterable<unknown>>, (item) => {
      const pair = typeof item === "object" && item !== null ? [...item] : [];
      if (pair.length !== 2) throw new TypeError("Each item of the query must be a pair");
      return [text(pair[0]), text(pair[1])];
    });
  }
  const pairs = new Map<string, string>();
  for (const name of Reflect.ownKeys(init)) {
    if (!Object.getOwnPropertyDescriptor(init, name)?.enumerable) continue;
    pairs.set(text(name), text((init as Record<PropertyKey, unknown>)[name]));
  }
  return [...pairs];
}

function parseQuery(query: string): Pair[] {
  const pairs: Pair[] = [];
  const from = query[0] === "?" ? query.slice(1) : query;
  for (const item of from.split("&")) {
    if (item === "") continue;
    const at = item.indexOf("=");
    const name = at === -1 ? item : item.slice(0, at);
    pairs.push([unescapeForm(name), at === -1 ? "" : unescapeForm(item.slice(at + 1))]);
  }
  return pairs;
}

/** application/x-www-form-urlencoded, URL Standard §5.2. */
function escapeForm(value: string): string {
  return encodeURIComponent(value)
    .replace(/[!'()~]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%20", "+");
}

function unescapeForm(value: string): string {
  const spaced = value.replaceAll("+", " ");
  if (!spaced.includes("%")) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch {
    return unescapeLoosely(spaced);
  }
}

/** Bytes that are no UTF-8, or percent signs that escape nothing. */
function unescapeLoosely(value: string): string {
  const bytes: number[] = [];
  const literal = unescape(encodeURIComponent(value).replaceAll("%25", "\u0000"));
  for (let index = 0; index < literal.length; index += 1) {
    const code = literal.charCodeAt(index);
    const digits = literal.slice(index + 1, index + 3);
    if (code === 0 && /^[0-9a-fA-F]{2}$/.test(digits)) {
      bytes.push(Number.parseInt(digits, 16));
      index += 2;
    } else bytes.push(code === 0 ? 0x25 : code);
  }
  return utf8Text(new Uint8Array(bytes));
}

/** A USVString: lone surrogates become U+FFFD. */
function text(value: unknown): string {
  return String(value).toWellFormed();
}
