/** An option's number, as it is typed. */
import { InvalidArgumentError } from "commander";

/** Throws InvalidArgumentError, which names the option. */
export function wholeNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a whole number.");
}
