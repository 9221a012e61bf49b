/** `DOMException`, which several of the web's functions throw. */

// <globals>
/** An error of a web API; `name` says which. */
export interface DOMException extends Error {
  readonly code: number;
}
export interface DOMExceptionConstructor {
  new (message?: string, name?: string): DOMException;
  readonly prototype: DOMException;
}
// </globals>

const CODES: Record<string, number> = {
  InvalidCharacterError: 5,
  NotSupportedError: 9,
  SyntaxError: 12,
  TypeMismatchError: 17,
  QuotaExceededError: 22,
  DataCloneError: 25,
};

export const DOMException = class DOMException extends Error {
  readonly #name: string;
  constructor(message = "", name = "Error") {
    super(message);
    this.#name = String(name);
  }
  override get name(): string {
    return this.#name;
  }
  get code(): number {
    return CODES[this.#name] ?? 0;
  }
} as unknown as DOMExceptionConstructor;
