/** Whether a document is one that a query finds (doc-query.ts). */
import type { Comparison, DocCondition, DocQuery } from "./doc-query.ts";
import {
  compareValues,
  type DocObject,
  type DocPath,
  type DocValue,
  docTypes,
  typeOf,
  valuesAt,
} from "./doc-values.ts";

/** A function that says whether a document is one that the query finds. */
export function createMatcher({ condition }: DocQuery): (document: DocObject) => boolean {
  const { at, clear } = rememberedValues();
  const test = testOf(condition, at);
  return (document) => {
    clear();
    return test(document);
  };
}

/**
 * The same of a document that is long for so many conditions: between two comparisons of all of it
 * `turn` is asked for a promise to wait for, or null. 100 conditions on 256 KiB take half a second.
 */
export function createSlowMatcher(
  { condition }: DocQuery,
  turn: () => Promise<void> | null,
): (document: DocObject) => Promise<boolean> {
  const { at, clear } = rememberedValues();
  const test = slowTestOf(condition, at, turn);
  return (document) => {
    clear();
    return test(document);
  };
}

/** Values of one document at a time: many conditions may be about one path. */
function rememberedValues(): { at: ValuesAt; clear: () => void } {
  const values = new Map<string, (DocValue | undefined)[]>();
  const at = (document: DocObject, path: DocPath): (DocValue | undefined)[] => {
    let found = values.get(path.text);
    if (found === undefined) {
      found = valuesAt(document, path);
      values.set(path.text, found);
    }
    return found;
  };
  return { at, clear: () => values.clear() };
}

type Test = (document: DocObject) => boolean;
type SlowTest = (document: DocObject) => Promise<boolean>;
type ValuesAt = (document: DocObject, path: DocPath) => (DocValue | undefined)[];

function testOf(condition: DocCondition, at: ValuesAt): Test {
  switch (condition.kind) {
    case "all": {
      const parts = condition.parts.map((part) => testOf(part, at));
      return (document) => parts.every((part) => part(document));
    }
    case "any": {
      const parts = condition.parts.map((part) => testOf(part, at));
      return (document) => parts.some((part) => part(document));
    }
    case "not": {
      const part = testOf(condition.part, at);
      return (document) => !part(document);
    }
    case "exists":
      return (document) => at(document, condition.path).some((value) => value !== undefined);
    case "compare": {
      const { path, operator, operand } = condition;
      const holds = (value: DocValue | undefined) => compares(value, operator, operand);
      return (document) => anyOf(at(document, path), holds);
    }
    case "in": {
      const isOne = membership(condition.operands);
      return (document) => anyOf(at(document, condition.path), isOne);
    }
  }
}

function slowTestOf(
  condition: DocCondition,
  at: ValuesAt,
  turn: () => Promise<void> | null,
): SlowTest {
  switch (condition.kind) {
    case "all":
    case "any": {
      const isAny = condition.kind === "any";
      const parts = condition.parts.map((part) => slowTestOf(part, at, turn));
      return async (document) => {
        for (const part of parts) if ((await part(document)) === isAny) return isAny;
        return !isAny;
      };
    }
    case "not": {
      const part = slowTestOf(condition.part, at, turn);
      return async (document) => !(await part(document));
    }
    case "in": {
      const { path, operands } = condition;
      const tests = operandGroups(operands).map((group) =>
        testOf({ kind: "in", path, operands: group }, at),
      );
      return slowly(tests, turn);
    }
    default:
      return slowly([testOf(condition, at)], turn);
  }
}

/** Whether one of them holds. */
function slowly(tests: readonly Test[], turn: () => Promise<void> | null): SlowTest {
  return async (document) => {
    for (const test of tests) {
      const wait = turn();
      if (wait !== null) await wait;
      if (test(document)) return true;
    }
    return false;
  };
}

/** Those that a set finds together, and each of the others. */
function operandGroups(operands: readonly DocValue[]): DocValue[][] {
  const isSimple = (one: DocValue) => typeof one !== "object" || one === null;
  const others = operands.filter((one) => !isSimple(one)).map((one) => [one]);
  return [operands.filter(isSimple), ...others];
}

/** Values, and the elements of those that are arrays. */
function anyOf(
  values: readonly (DocValue | undefined)[],
  holds: (value: DocValue | undefined) => boolean,
): boolean {
  return values.some((value) => holds(value) || (Array.isArray(value) && value.some(holds)));
}

function compares(value: DocValue | undefined, operator: Comparison, operand: DocValue): boolean {
  if (typeOf(value) !== typeOf(operand)) return false;
  const difference = compareValues(value, operand);
  switch (operator) {
    case "$eq":
      return difference === 0;
    case "$gt":
      return difference > 0;
    case "$gte":
      return difference >= 0;
    case "$lt":
      return difference < 0;
    case "$lte":
      return difference <= 0;
  }
}

/** A set finds 200 texts as fast as one; its equality is ours, of what is no object. */
function membership(operands: readonly DocValue[]): (value: DocValue | undefined) => boolean {
  const simple = new Set<DocValue>();
  const others: DocValue[] = [];
  for (const operand of operands) {
    if (typeOf(operand) === docTypes.object || typeOf(operand) === docTypes.array) {
      others.push(operand);
    } else simple.add(operand);
  }
  return (value) =>
    typeof value === "object" && value !== null
      ? others.some((other) => compares(value, "$eq", other))
      : simple.has(value ?? null);
}
