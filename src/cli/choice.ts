/** Arguments and options that take one of a few words: help and completion know them. */
import { Argument, Option } from "commander";

/** @param name with its brackets: `<role>` */
export function choice(name: string, description: string, words: readonly string[]): Argument {
  return new Argument(name, description).choices([...words]);
}

/** @param flags `--role <role>` */
export function choiceOption(flags: string, description: string, words: readonly string[]): Option {
  return new Option(flags, description).choices([...words]);
}
