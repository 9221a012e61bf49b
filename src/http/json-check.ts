/**
 * Whether a text is JSON (RFC 8259), without making anything of it.
 *
 * JSON.parse turns 10 MiB of small members into 500 MB of objects and holds every other request up for
 * a second or more, only to be told yes or no. This looks at the characters, in slices between which
 * the event loop gets a turn: 30 to 80 ms of work for 10 MiB, and no memory.
 */
import { bodyJsonDepthMax, bodyJsonSliceChars } from "../domain/limits.ts";

/** What must come next. */
const VALUE = 0;
/** A value, or the end of the array that has just begun. */
const FIRST_VALUE = 1;
const KEY = 2;
/** A key, or the end of the object that has just begun. */
const FIRST_KEY = 3;
/** A comma, the end of the container, or the end of the text. */
const AFTER = 4;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const ARRAY_END = 0x5d;
const OBJECT = 0x7b;
const OBJECT_END = 0x7d;

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const LITERAL = /true|false|null/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})/y;

/** False also for what is nested deeper than bodyJsonDepthMax. */
export async function isJson(text: string): Promise<boolean> {
  const check = new JsonCheck(text);
  for (;;) {
    const verdict = check.advance(bodyJsonSliceChars);
    if (verdict !== null) return verdict;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

class JsonCheck {
  #at = 0;
  #expected = VALUE;
  #depth = 0;
  /** Of each open container: 1 for an object, 0 for an array. */
  readonly #isObject = new Uint8Array(bodyJsonDepthMax);

  constructor(private readonly text: string) {}

  /** Goes on for about so many characters (a string is not divided). Null: there is more. */
  advance(chars: number): boolean | null {
    const sliceEnd = this.#at + chars;
    while (this.#at < sliceEnd) {
      this.#skipSpace();
      if (this.#at >= this.text.length) return this.#expected === AFTER && this.#depth === 0;
      if (!this.#token(this.text.charCodeAt(this.#at))) return false;
    }
    return null;
  }

  #token(code: number): boolean {
    switch (this.#expected) {
      case AFTER:
        return this.#after(code);
      case FIRST_KEY:
        return code === OBJECT_END ? this.#close() : this.#key(code);
      case KEY:
        return this.#key(code);
      case FIRST_VALUE:
        return code === ARRAY_END ? this.#close() : this.#value(code);
      default:
        return this.#value(code);
    }
  }

  #after(code: number): boolean {
    if (this.#depth === 0) return false;
    const isObject = this.#isObject[this.#depth - 1] === 1;
    if (code === (isObject ? OBJECT_END : ARRAY_END)) return this.#close();
    this.#expected = isObject ? KEY : VALUE;
    this.#at += 1;
    return code === COMMA;
  }

  #key(code: number): boolean {
    if (code !== QUOTE || !this.#string()) return false;
    this.#skipSpace();
    this.#expected = VALUE;
    return this.text.charCodeAt(this.#at++) === COLON;
  }

  #value(code: number): boolean {
    if (code === OBJECT || code === ARRAY) return this.#open(code === OBJECT);
    this.#expected = AFTER;
    if (code === QUOTE) return this.#string();
    return this.#matches(NUMBER) || this.#matches(LITERAL);
  }

  #open(isObject: boolean): boolean {
    if (this.#depth === bodyJsonDepthMax) return false;
    this.#isObject[this.#depth] = isObject ? 1 : 0;
    this.#depth += 1;
    this.#expected = isObject ? FIRST_KEY : FIRST_VALUE;
    this.#at += 1;
    return true;
  }

  #close(): boolean {
    this.#depth -= 1;
    this.#expected = AFTER;
    this.#at += 1;
    return true;
  }

  #string(): boolean {
    const { text } = this;
    let at = this.#at + 1;
    while (at < text.length) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        this.#at = at + 1;
        return true;
      }
      if (code < 0x20) return false;
      if (code === BACKSLASH) {
        this.#at = at;
        if (!this.#matches(ESCAPE)) return false;
        at = this.#at;
      } else at += 1;
    }
    return false;
  }

  #matches(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at;
    if (!pattern.test(this.text)) return false;
    this.#at = pattern.lastIndex;
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at += 1;
    }
  }
}
