/**
 * The one door to arktype. `jitless` keeps it from generating code for each schema: at a few
 * requests a second, compiled validators cost more memory than they save time. Wire schemas have no
 * morphs and no predicates, so that `toJsonSchema()` can describe every one of them.
 */
import "./jitless.ts";
import { type } from "arktype";

export { type };

/** A schema whose values are `T`: only what the admin API needs of arktype's own type. */
export interface Schema<T> {
  readonly infer: T;
  (data: unknown): unknown;
  toJsonSchema(): object;
}
