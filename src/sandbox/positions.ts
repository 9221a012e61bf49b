/**
 * Puts the author's positions into the errors of compiled code.
 *
 * The engine prints frames as `    at name (file:line:column)` or `    at file:line:column`, where the
 * file is a script's or module's name and may itself hold colons, spaces and brackets. Its column is the
 * bracket of a call, or the dot of a property access; the source map gives the beginning of the word
 * before it, which is what an author looks for: the called name, or the object that was undefined.
 *
 * The engine counts columns in code points, the map in UTF-16 units. They differ only after a character
 * beyond U+FFFF in a name or a regular expression on the same compiled line (texts are compiled to
 * escapes), and then by too little to leave a word of some length.
 *
 * The text of a stack comes from the guest, who can write anything into it: what is no frame of a known
 * module stays as it is, lengths are bounded, and nothing here throws.
 */
import type { SourceMap } from "node:module";
import { LRUCache } from "lru-cache";
import type { GuestError } from "../domain/executions.ts";
import { positionMapBytesMax, stackCharsMax, stackLinesMax } from "../domain/limits.ts";

/** The compiler names an anonymous default export after its virtual file: `picloud_default`. */
export const compiledName = "picloud";

/** The source map of a module by its name, or null when there is none. */
export type FindMap = (moduleName: string) => string | null;

export interface PositionMapper {
  /** The error with the author's lines and columns. Never throws; `error` is left alone. */
  mapError(error: GuestError, maps: FindMap): GuestError;
}

export interface PositionMapperOptions {
  /** Source maps kept decoded, by the length of their text. */
  mapBytesMax?: number;
}

/** A map that cannot be read: remembered, so that it is not tried for every frame. */
const BROKEN = Symbol("broken");

/** Makes a mapper with a cache of its own. */
export function createPositionMapper(options: PositionMapperOptions = {}): PositionMapper {
  const decoded = new LRUCache<string, SourceMap | typeof BROKEN>({
    maxSize: options.mapBytesMax ?? positionMapBytesMax,
    sizeCalculation: (_map, text) => text.length + 1,
  });

  const decode = (text: string): SourceMap | null => {
    let map = decoded.get(text);
    if (map === undefined) {
      map = readMap(text) ?? BROKEN;
      decoded.set(text, map);
    }
    return map === BROKEN ? null : map;
  };

  return {
    mapError(error, maps) {
      const found = new Map<string, SourceMap | null>();
      const mapOf = (moduleName: string): SourceMap | null => {
        let map = found.get(moduleName);
        if (map === undefined) {
          map = findMap(moduleName, maps, decode);
          found.set(moduleName, map);
        }
        return map;
      };
      return { ...error, stack: mapStack(error.stack, mapOf) };
    },
  };
}

// ---------------------------------------------------------------------------------------------

type MapOf = (moduleName: string) => SourceMap | null;

function findMap(
  moduleName: string,
  maps: FindMap,
  decode: (text: string) => SourceMap | null,
): SourceMap | null {
  try {
    const text = maps(moduleName);
    return text === null ? null : decode(text);
  } catch {
    return null;
  }
}

function readMap(text: string): SourceMap | null {
  try {
    // loaded with the first error only: most servers start, serve and stop without one
    const { SourceMap } = process.getBuiltinModule("node:module");
    return new SourceMap(JSON.parse(text));
  } catch {
    return null;
  }
}

function mapStack(stack: string, mapOf: MapOf): string {
  const lines = stack.slice(0, stackCharsMax).split("\n", stackLinesMax + 1);
  const isCut = stack.length > stackCharsMax || lines.length > stackLinesMax;
  const mapped = lines.slice(0, stackLinesMax).map((line) => mapLine(line, mapOf));
  if (isCut) mapped.push("    …");
  return mapped.join("\n");
}

function mapLine(line: string, mapOf: MapOf): string {
  const frame = /^(\s*at )(.*?):(\d{1,9})(?::(\d{1,9}))?(\)?)\s*$/.exec(line);
  if (frame === null) return line;
  const [, lead = "", head = "", lineText = "", columnText, close = ""] = frame;
  const place = close === "" ? { name: "", file: head } : splitHead(head, mapOf);
  const map = mapOf(place.file);
  if (map === null) return line;
  const at = findPosition(map, Number(lineText), Number(columnText ?? 1));
  const name = authorsName(place.name);
  const where =
    at === null ? `${place.file}, generated code` : `${place.file}:${at.line}:${at.column}`;
  return close === "" ? `${lead}${where}` : `${lead}${name} (${where})`;
}

/** Splits `name (file`: both may hold ` (`, so the split is where a known file begins. */
function splitHead(head: string, mapOf: MapOf): { name: string; file: string } {
  let at = head.indexOf(" (");
  for (let tries = 0; at !== -1 && tries < 8; tries += 1) {
    const file = head.slice(at + 2);
    if (mapOf(file) !== null) return { name: head.slice(0, at), file };
    at = head.indexOf(" (", at + 1);
  }
  return { name: "", file: "" };
}

function findPosition(
  map: SourceMap,
  line: number,
  column: number,
): { line: number; column: number } | null {
  try {
    const entry = map.findEntry(line - 1, Math.max(0, column - 1));
    if (!("originalLine" in entry) || typeof entry.originalLine !== "number") return null;
    // a line without any mapping is the compiler's own: what was found belongs to a line before it
    if (entry.generatedLine !== line - 1) return null;
    return { line: entry.originalLine + 1, column: entry.originalColumn + 1 };
  } catch {
    return null;
  }
}

/** The engine's name of a function, without what the compiler made of it. */
function authorsName(name: string): string {
  return name.replace(/\bpicloud_default\d*$/, "default");
}
