/**
 * What modules import from each other: a graph without cycles, in which no chain is longer than
 * `moduleDepthMax`. A chain is counted in modules: an endpoint may stand on top of eight, and a
 * module is the first of its own. So every chain that an endpoint could run is judged when one of
 * its modules is saved.
 *
 * Every rule here is about one module that is being saved: the rest was judged before, so that what
 * is wrong goes through it.
 */
import { PicError } from "./errors.ts";
import { moduleDepthMax } from "./limits.ts";
import { sdkModuleName } from "./scripts.ts";

/** Module name → what it imports. A name that is no key is no module (yet). */
export type ModuleGraph = ReadonlyMap<string, readonly string[]>;

/** A module that a script imports cannot be loaded. Callers are told no more than that. */
export class ModuleUnavailable extends PicError {
  constructor(
    /** For the author, in the record of the execution. */
    readonly reason: string,
    cause?: unknown,
  ) {
    super("module_unavailable", "A module that the script imports is unavailable", { cause });
  }
}

/** The imports that name modules: all but the SDK. */
export function moduleImports(imports: readonly string[]): string[] {
  return imports.filter((name) => name !== sdkModuleName);
}

/** The shortest way from a module back to itself, both ends included; null when there is none. */
export function findCycle(graph: ModuleGraph, start: string): string[] | null {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const name of queue) {
    for (const imported of graph.get(name) ?? []) {
      if (imported === start) return [...pathTo(cameFrom, name), start];
      if (cameFrom.has(imported)) continue;
      cameFrom.set(imported, name);
      queue.push(imported);
    }
  }
  return null;
}

/** The longest chain of modules through one of them, outermost first. The graph has no cycle. */
export function longestChain(graph: ModuleGraph, through: string): string[] {
  const importers = new Map<string, string[]>();
  for (const [name, imports] of graph) {
    for (const imported of imports) {
      const known = importers.get(imported);
      if (known === undefined) importers.set(imported, [name]);
      else known.push(name);
    }
  }
  const above = longestFrom(through, (name) => importers.get(name) ?? []);
  const below = longestFrom(through, (name) =>
    (graph.get(name) ?? []).filter((imported) => graph.has(imported)),
  );
  return [...above.reverse(), ...below.slice(1)];
}

/** What is wrong with a module's place in the graph. */
export interface GraphProblem {
  message: string;
  /** The import of that module that is part of it; undefined when only its importers are. */
  imported: string | undefined;
}

/** A cycle through a module, or a chain of modules that is too long; null when there is neither. */
export function findGraphProblem(graph: ModuleGraph, saved: string): GraphProblem | null {
  const cycle = findCycle(graph, saved);
  if (cycle !== null) {
    return { message: `The imports form a cycle: ${cycle.join(" -> ")}`, imported: cycle[1] };
  }
  const chain = longestChain(graph, saved);
  if (chain.length <= moduleDepthMax) return null;
  return {
    message: `More than ${moduleDepthMax} modules import one another in a row: ${chain.join(" -> ")}`,
    imported: chain[chain.indexOf(saved) + 1],
  };
}

function pathTo(cameFrom: ReadonlyMap<string, string>, last: string): string[] {
  const path: string[] = [];
  for (let at: string | undefined = last; at !== undefined; at = cameFrom.get(at)) path.push(at);
  return path.reverse();
}

/** Recursive as deep as the graph is, which every save keeps below twice `moduleDepthMax`. */
function longestFrom(start: string, next: (name: string) => readonly string[]): string[] {
  const known = new Map<string, string[]>();
  const longest = (name: string): string[] => {
    const found = known.get(name);
    if (found !== undefined) return found;
    let rest: string[] = [];
    for (const other of next(name)) {
      const candidate = longest(other);
      if (candidate.length > rest.length) rest = candidate;
    }
    const chain = [name, ...rest];
    known.set(name, chain);
    return chain;
  };
  return longest(start);
}
