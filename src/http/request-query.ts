/** The query as scripts see it: the last value of each name, and all of them. */
export interface ParsedQuery {
  query: Record<string, string>;
  queries: Record<string, string[]>;
}

const EMPTY: ParsedQuery = Object.freeze({
  query: Object.freeze({}),
  queries: Object.freeze({}),
});

/** Reads `a=1&a=2` after WHATWG URL §5.1. Any name is safe: the objects have no prototype. */
export function parseQuery(text: string): ParsedQuery {
  if (text === "") return EMPTY;
  const query: Record<string, string> = Object.create(null);
  const queries: Record<string, string[]> = Object.create(null);
  for (const [name, value] of new URLSearchParams(text)) {
    query[name] = value;
    const all = queries[name];
    if (all === undefined) queries[name] = [value];
    else all.push(value);
  }
  return { query, queries };
}
