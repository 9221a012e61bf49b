/**
 * `TextEncoder` and `TextDecoder` (Encoding Standard, UTF-8 only), and the conversions between text
 * and bytes that the other parts use. The conversion itself is the host's: a loop over the characters
 * would be fifty times slower in the guest.
 */
import { ask, parse, stringify } from "./host.ts";
import { OP_UTF8_DECODE, OP_UTF8_ENCODE } from "./operations.ts";

// <globals>
/** Text to UTF-8. */
export interface TextEncoder {
  readonly encoding: "utf-8";
  encode(text?: string): Uint8Array;
  encodeInto(text: string, target: Uint8Array): { read: number; written: number };
}
export interface TextEncoderConstructor {
  new (): TextEncoder;
  readonly prototype: TextEncoder;
}
/** UTF-8 to text. */
export interface TextDecoder {
  readonly encoding: "utf-8";
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  /** `stream`: a character that is cut off at the end is kept for the next call. */
  decode(data?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
}
export interface TextDecoderConstructor {
  /** Throws RangeError for another encoding than UTF-8. */
  new (label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean }): TextDecoder;
  readonly prototype: TextDecoder;
}
// </globals>

const UTF8_LABELS = [
  "utf-8",
  "utf8",
  "unicode-1-1-utf-8",
  "unicode11utf8",
  "unicode20utf8",
  "x-unicode20utf8",
];
const BOM = "\uFEFF";
const fromCharCode = String.fromCharCode;
const CHARS_PER_CALL = 4_096;

export const TextEncoder = class TextEncoder {
  get encoding(): "utf-8" {
    return "utf-8";
  }
  encode(text = ""): Uint8Array {
    return new Uint8Array(utf8Bytes(String(text)));
  }
  encodeInto(text: string, target: Uint8Array): { read: number; written: number } {
    const source = String(text);
    let read = 0;
    let written = 0;
    for (const character of source) {
      const code = character.codePointAt(0) as number;
      const size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x1_0000 ? 3 : 4;
      if (written + size > target.length) break;
      read += character.length;
      written += size;
    }
    target.set(new Uint8Array(utf8Bytes(source.slice(0, read))));
    return { read, written };
  }
} as TextEncoderConstructor;

export const TextDecoder = class TextDecoder {
  readonly #fatal: boolean;
  readonly #ignoreBOM: boolean;
  #kept = new Uint8Array(0);
  #atStart = true;

  constructor(label = "utf-8", options: { fatal?: boolean; ignoreBOM?: boolean } = {}) {
    const name = String(label).trim().toLowerCase();
    if (!UTF8_LABELS.includes(name))
      throw new RangeError(`The encoding "${label}" is not supported`);
    this.#fatal = Boolean(options?.fatal);
    this.#ignoreBOM = Boolean(options?.ignoreBOM);
  }
  get encoding(): "utf-8" {
    return "utf-8";
  }
  get fatal(): boolean {
    return this.#fatal;
  }
  get ignoreBOM(): boolean {
    return this.#ignoreBOM;
  }
  decode(data?: ArrayBuffer | ArrayBufferView, options: { stream?: boolean } = {}): string {
    const stream = Boolean(options?.stream);
    let bytes = concat(this.#kept, data === undefined ? new Uint8Array(0) : viewOf(data));
    this.#kept = new Uint8Array(0);
    if (stream) {
      const whole = bytes.length - unfinishedBytes(bytes);
      this.#kept = bytes.slice(whole);
      bytes = bytes.subarray(0, whole);
    }
    const atStart = this.#atStart;
    this.#atStart = true;
    const malformed = () => {
      this.#kept = new Uint8Array(0);
      return new TypeError("The bytes are not valid UTF-8");
    };
    const flag = this.#fatal ? 1 : 0;
    const text = parse(ask(malformed, OP_UTF8_DECODE, bufferOf(bytes), flag) as string) as string;
    if (stream) this.#atStart = atStart && text === "";
    return atStart && !this.#ignoreBOM && text[0] === BOM ? text.slice(1) : text;
  }
} as TextDecoderConstructor;

/** A text as UTF-8; lone surrogates become U+FFFD. */
export function utf8Bytes(text: string): ArrayBuffer {
  return ask((message) => new RangeError(message), OP_UTF8_ENCODE, stringify(text)) as ArrayBuffer;
}

/** UTF-8 as a text; what is malformed becomes U+FFFD. */
export function utf8Text(bytes: Uint8Array): string {
  const answer = ask((message) => new RangeError(message), OP_UTF8_DECODE, bufferOf(bytes), 0);
  return parse(answer as string) as string;
}

/** The bytes of a buffer or a view, as a buffer of exactly these. Throws TypeError for else. */
export function bytesOf(data: ArrayBuffer | ArrayBufferView): ArrayBuffer {
  return bufferOf(viewOf(data));
}

/** One character a byte, or null when a character does not fit. */
export function encodeLatin1(text: string): ArrayBuffer | null {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code > 0xff) return null;
    bytes[index] = code;
  }
  return bytes.buffer;
}

/** One character a byte. */
export function decodeLatin1(data: ArrayBuffer): string {
  const bytes = new Uint8Array(data);
  let text = "";
  for (let index = 0; index < bytes.length; index += CHARS_PER_CALL) {
    text += fromCharCode(...bytes.subarray(index, index + CHARS_PER_CALL));
  }
  return text;
}

function viewOf(data: unknown): Uint8Array {
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  }
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  throw new TypeError("The data is no ArrayBuffer and no view of one");
}

function bufferOf(bytes: Uint8Array): ArrayBuffer {
  const buffer = bytes.buffer as ArrayBuffer;
  if (bytes.byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) return buffer;
  return bytes.slice().buffer as ArrayBuffer;
}

function concat(head: Uint8Array, tail: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(head.length + tail.length);
  whole.set(head);
  whole.set(tail, head.length);
  return whole;
}

/**
 * How many bytes at the end begin a character that may still be finished: the Encoding Standard's
 * decoder would wait for more after exactly these.
 */
function unfinishedBytes(bytes: Uint8Array): number {
  for (let size = 1; size <= 3 && size <= bytes.length; size += 1) {
    const lead = bytes[bytes.length - size] as number;
    if (lead >= 0x80 && lead <= 0xbf) continue;
    const needed =
      lead >= 0xc2 && lead <= 0xdf
        ? 2
        : lead >= 0xe0 && lead <= 0xef
          ? 3
          : lead >= 0xf0 && lead <= 0xf4
            ? 4
            : 1;
    if (needed <= size) return 0;
    if (size === 1) return 1;
    const second = bytes[bytes.length - size + 1] as number;
    const from = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const to = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    return second >= from && second <= to ? size : 0;
  }
  return 0;
}
