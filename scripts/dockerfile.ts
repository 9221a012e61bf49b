/** Reads a Dockerfile as far as ours need it: stages, instructions, continued lines, exec forms. */

export interface Instruction {
  /** In capitals: FROM, COPY, … */
  readonly name: string;
  /** The rest of the line; continued lines are joined. */
  readonly value: string;
}

export interface Stage {
  /** The image that it begins with. */
  readonly from: string;
  /** `AS name`; null when the stage has none. */
  readonly name: string | null;
  readonly instructions: readonly Instruction[];
}

/** The stages in their order; the last one is the image. Throws for a file without any. */
export function readDockerfile(text: string): [Stage, ...Stage[]] {
  const stages: { from: string; name: string | null; instructions: Instruction[] }[] = [];
  for (const line of joinedLines(text)) {
    const [, name = "", value = ""] = line.match(/^(\S+)\s*(.*)$/s) ?? [];
    if (name.toUpperCase() === "FROM") {
      const [from = "", as, stageName] = value
        .split(/\s+/)
        .filter((word) => !word.startsWith("--"));
      const isNamed = as?.toUpperCase() === "AS" && stageName !== undefined;
      stages.push({ from, name: isNamed ? stageName : null, instructions: [] });
    } else {
      stages.at(-1)?.instructions.push({ name: name.toUpperCase(), value });
    }
  }
  const [first, ...rest] = stages;
  if (first === undefined) throw new Error("a Dockerfile begins with FROM");
  return [first, ...rest];
}

/** The value of the instruction that counts, the last of its name; null when there is none. */
export function lastValue(stage: Stage, name: string): string | null {
  return stage.instructions.findLast((one) => one.name === name)?.value ?? null;
}

/** The words of an exec form (`["a", "b"]`). Throws for a shell form, which would need a shell. */
export function execWords(value: string | null): string[] {
  const words: unknown = value?.startsWith("[") === true ? JSON.parse(value) : null;
  if (!Array.isArray(words)) throw new Error(`not an exec form: ${value}`);
  return words.map(String);
}

/** All `ENV NAME=value` of a stage; values without blanks, as ours are. */
export function environmentOf(stage: Stage): Record<string, string> {
  const pairs = stage.instructions
    .filter(({ name }) => name === "ENV")
    .flatMap(({ value }) => value.split(/\s+/));
  return Object.fromEntries(
    pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
  );
}

function joinedLines(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => !/^\s*#/.test(line))
    .join("\n")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}
