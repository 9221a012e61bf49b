/** What is wrong with a manifest, gathered, so that its author is told of everything at once. */
import { type ErrorCode, type FieldError, PicError } from "../domain/errors.ts";
import { fieldErrorsMax } from "../domain/limits.ts";
import type { WantedScript } from "../domain/manifest.ts";

/** A part of a manifest: `scripts[2].routes[0]`, and the file of its script. */
export interface ManifestPlace {
  path: string;
  file: string | null;
}

/** What the author can mend; the first of these that was found is the code of the whole. */
const mendable = ["invalid", "invalid_source", "limit_above_ceiling"] as const;

export class ManifestErrors {
  readonly #found: FieldError[] = [];
  readonly #codes = new Set<ErrorCode>();

  /** There are as many as are told. */
  get isFull(): boolean {
    return this.#found.length >= fieldErrorsMax;
  }

  /** What `check` gives; undefined when it refuses. Throws what the author cannot mend. */
  attempt<T>(place: ManifestPlace, check: () => T): T | undefined {
    try {
      return check();
    } catch (error) {
      this.add(place, error);
      return undefined;
    }
  }

  /** Throws the error when it is none that the author can mend. */
  add(place: ManifestPlace, error: unknown): void {
    const isMendable = error instanceof PicError && mendable.some((code) => code === error.code);
    if (!isMendable) throw error;
    this.#codes.add(error.code);
    const all = error.details.errors ?? [{ path: "", message: error.message }];
    this.#found.push(...all.map((one) => locatedAt(place, one)));
  }

  refuse(place: ManifestPlace, message: string): void {
    this.add(place, new PicError("invalid", message));
  }

  /** Throws PicError `invalid`, `invalid_source` or `limit_above_ceiling` when something was found. */
  throwFound(): void {
    const code = mendable.find((one) => this.#codes.has(one));
    const [first] = this.#found;
    if (code === undefined || first === undefined) return;
    const more = this.#found.length - 1;
    const rest = more === 0 ? "" : ` (and ${more} more)`;
    throw new PicError(code, `${whereOf(first)}: ${first.message}${rest}`, {
      errors: this.#found.slice(0, fieldErrorsMax),
    });
  }
}

export function scriptPlace({ index, file }: Pick<WantedScript, "index" | "file">): ManifestPlace {
  return { path: `scripts[${index}]`, file };
}

/** @param member `routes[0]` */
export function below(place: ManifestPlace, member: string): ManifestPlace {
  return { ...place, path: `${place.path}.${member}` };
}

/** The same problem, seen from the whole manifest. */
export function locatedAt({ path, file }: ManifestPlace, error: FieldError): FieldError {
  const { path: inner, ...rest } = error;
  const whole = inner === "" ? path : `${path}.${inner}`;
  return { path: whole, ...rest, ...(file === null ? {} : { file }) };
}

function whereOf({ path, file, line, column }: FieldError): string {
  const at = line === undefined ? "" : `:${line}${column === undefined ? "" : `:${column}`}`;
  return file === undefined || line === undefined ? `${path}${at}` : `${file}${at}`;
}
