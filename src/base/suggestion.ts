/** Tells what somebody who misspelled a name most likely meant. */

/** A name this close to a known one is a misspelling (edits), and so is one word too many or too few. */
const misspellingEditsMax = 2;

/** A flag or variable that is close to what was typed, or null. */
export function suggestion(typed: string, known: readonly string[]): string | null {
  let best: { name: string; edits: number } | null = null;
  for (const name of known) {
    const oneWordApart =
      name.replace(/[_-][^_-]+$/, "") === typed || typed.replace(/[_-][^_-]+$/, "") === name;
    const edits = oneWordApart ? misspellingEditsMax : editDistance(typed, name);
    if (edits <= misspellingEditsMax && edits < (best?.edits ?? Infinity)) best = { name, edits };
  }
  return best?.name ?? null;
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > misspellingEditsMax) return Infinity;
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      let cost = Math.min(
        (previous[column] as number) + 1,
        (current[column - 1] as number) + 1,
        (previous[column - 1] as number) + same,
      );
      const swapped =
        row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) cost = Math.min(cost, (before[column - 2] as number) + 1);
      current.push(cost);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length] as number;
}
