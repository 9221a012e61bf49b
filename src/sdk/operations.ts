/**
 * What the guest can ask of the process it runs in, by number: the first argument of the one function
 * that reaches out. A number above zero is a host call and is its own id.
 */

/** (header JSON, body text): the handler's result. */
export const OP_RESULT = 0;
/** (error JSON): the handler or the loading of its script failed. */
export const OP_ERROR = -1;
/** (): the script is loaded and its default export is a function. */
export const OP_LOADED = -2;
/** (entry JSON): one log line. */
export const OP_LOG = -3;
/** (id, milliseconds): wake me. */
export const OP_TIMER_SET = -4;
/** (id): do not. */
export const OP_TIMER_CLEAR = -5;

// The rest is answered at once: with a string, an ArrayBuffer, or a string that begins with REFUSED.
/** (count) → that many random bytes. */
export const OP_RANDOM_BYTES = -10;
/** () → a UUID. */
export const OP_RANDOM_UUID = -11;
/** (algorithm, buffer) → the digest. */
export const OP_DIGEST = -12;
/** (JSON of a string) → UTF-8. */
export const OP_UTF8_ENCODE = -13;
/** (buffer, 1 when malformed bytes are an error) → JSON of the string. */
export const OP_UTF8_DECODE = -14;
/** (buffer, "base64" | "base64url" | "hex") → the text. */
export const OP_BYTES_TO_TEXT = -15;
/** (JSON of a string, "base64" | "base64url" | "hex") → the bytes. */
export const OP_TEXT_TO_BYTES = -16;
/** (JSON [url, base or null]) → JSON of the parts. */
export const OP_URL_PARSE = -17;
/** (JSON [href, part, value]) → JSON of the parts. */
export const OP_URL_SET = -18;

/** Begins the context of a delivery, whose `tx` are recorded; to JSON it is white space. */
export const DELIVERY = "\n";

/** Begins an answer that is a refusal; the rest of it says why. */
export const REFUSED = "!";
