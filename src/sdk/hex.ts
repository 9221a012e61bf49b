/** `hex`: bytes as hexadecimal digits. */
import { ask, stringify } from "./host.ts";
import { OP_BYTES_TO_TEXT, OP_TEXT_TO_BYTES } from "./operations.ts";
import { bytesOf, utf8Bytes } from "./text.ts";

// <declarations>
/** Bytes as hexadecimal digits. */
export interface Hex {
  /** Lower-case; a string is encoded as UTF-8. */
  encode(data: string | ArrayBuffer | ArrayBufferView): string;
  /** Either case. Throws TypeError for anything but pairs of digits. */
  decode(text: string): Uint8Array;
}
// </declarations>

export const hex: Hex = {
  encode(data) {
    const bytes = typeof data === "string" ? utf8Bytes(data) : bytesOf(data);
    return ask(refusal, OP_BYTES_TO_TEXT, bytes, "hex") as string;
  },
  decode(text) {
    const bytes = ask(refusal, OP_TEXT_TO_BYTES, stringify(String(text)), "hex");
    return new Uint8Array(bytes as ArrayBuffer);
  },
};

function refusal(message: string): Error {
  return new TypeError(message);
}
