/** What one match looks for, and what it met on the way. One object serves every match of a table. */
import { type Entry, type MethodSet, methodsOf, pickEntry } from "./entries.ts";
import type { Pieces } from "./pieces.ts";

export class Search {
  method = "";
  /** The methods of patterns that fit, but not with this method. */
  refused: MethodSet = 0;

  constructor(readonly path: Pieces) {}

  begin(method: string, path: string): void {
    this.method = method;
    this.refused = 0;
    this.path.aim(path);
  }

  /** The route for the method among those of a pattern that fits, or null. */
  pick(first: Entry): Entry | null {
    const entry = pickEntry(first, this.method);
    if (entry === null) this.refused |= methodsOf(first);
    return entry;
  }
}
