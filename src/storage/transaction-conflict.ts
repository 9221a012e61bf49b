import { PicError } from "../domain/errors.ts";

/** Others were in the way of a transaction, which was taken back and may be run again: a deadlock, for one. */
export class TransactionConflict extends PicError {
  constructor(cause: unknown) {
    const message = "Others changed the same data at the same time; try again.";
    super("unavailable", message, { cause });
  }
}
