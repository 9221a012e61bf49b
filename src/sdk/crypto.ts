/** `crypto`: randomness and digests, both made by the process around the guest. */
import { DOMException } from "./exceptions.ts";
import { ask } from "./host.ts";
import { OP_DIGEST, OP_RANDOM_BYTES, OP_RANDOM_UUID } from "./operations.ts";
import { bytesOf } from "./text.ts";

// <globals>
/** Randomness fit for secrets, and digests. */
export interface Crypto {
  randomUUID(): string;
  /** Fills an integer typed array of at most 65,536 bytes. */
  getRandomValues<T extends ArrayBufferView>(array: T): T;
  readonly subtle: SubtleCrypto;
}
export interface SubtleCrypto {
  /** SHA-1, SHA-256, SHA-384 or SHA-512. */
  digest(
    algorithm: string | { name: string },
    data: ArrayBuffer | ArrayBufferView,
  ): Promise<ArrayBuffer>;
}
// </globals>

const RANDOM_BYTES_MAX = 65_536;

export const crypto: Crypto = {
  randomUUID: () => ask(unavailable, OP_RANDOM_UUID) as string,
  getRandomValues(array) {
    if (!isIntegerArray(array)) {
      throw exception("getRandomValues takes an integer typed array", "TypeMismatchError");
    }
    if (array.byteLength > RANDOM_BYTES_MAX) {
      throw exception(
        `getRandomValues gives at most ${RANDOM_BYTES_MAX} bytes`,
        "QuotaExceededError",
      );
    }
    const random = ask(unavailable, OP_RANDOM_BYTES, array.byteLength) as ArrayBuffer;
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(new Uint8Array(random));
    return array;
  },
  subtle: {
    async digest(algorithm, data) {
      const name = String(typeof algorithm === "object" ? algorithm.name : algorithm);
      const notSupported = (message: string) => exception(message, "NotSupportedError");
      return ask(notSupported, OP_DIGEST, name.toUpperCase(), bytesOf(data)) as ArrayBuffer;
    },
  },
};

function isIntegerArray(value: unknown): boolean {
  return (
    ArrayBuffer.isView(value) &&
    !(value instanceof DataView) &&
    !(value instanceof Float32Array) &&
    !(value instanceof Float64Array) &&
    !(
      "Float16Array" in globalThis &&
      value instanceof (globalThis as never as { Float16Array: typeof Float32Array }).Float16Array
    )
  );
}

function exception(message: string, name: string): Error {
  return new DOMException(message, name) as unknown as Error;
}

function unavailable(message: string): Error {
  return new Error(message);
}
