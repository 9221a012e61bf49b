/** From a place in bundled code back to the author's file. */
import { SourceMap } from "node:module";

export interface Place {
  /** Its path. */
  file: string;
  line: number;
  column: number;
}

export interface BundleText {
  code: string;
  /** Source map v3, with the paths of its sources. */
  map: { sources: string[]; mappings: string; sourcesContent?: string[] };
}

/** Lines and columns are 1-based. */
export class BundlePositions {
  #decoded: SourceMap | null = null;
  /** Lines on which `var` became `const`: columns behind it moved. */
  readonly #moved: ReadonlySet<number>;

  constructor(
    private readonly map: BundleText["map"],
    moved: ReadonlySet<number>,
  ) {
    this.#moved = moved;
  }

  /** Null for what the bundler added. */
  original(line: number, column: number): Place | null {
    const isMoved = this.#moved.has(line) && column > "const".length;
    const at = column - (isMoved ? "const".length - "var".length : 0);
    return originalPlace(this.#source(), line, at);
  }

  #source(): SourceMap {
    this.#decoded ??= new SourceMap({ version: 3, names: [], ...this.map } as never);
    return this.#decoded;
  }
}

/**
 * A module may have only constants at its top level, which the bundler writes as `var`. Where the
 * author wrote `const` it is put back.
 */
export function constantsRestored({ code, map }: BundleText): {
  code: string;
  moved: ReadonlySet<number>;
} {
  const decoded = new SourceMap({ version: 3, names: [], ...map } as never);
  const texts = new Map(map.sources.map((name, index) => [name, map.sourcesContent?.[index]]));
  const moved = new Set<number>();
  const lines = code.split("\n").map((text, index) => {
    if (!text.startsWith("var ")) return text;
    const place = originalPlace(decoded, index + 1, 1);
    const original = place && texts.get(place.file)?.split("\n")[place.line - 1];
    if (!original?.slice((place?.column ?? 1) - 1).match(/^(?:export\s+)?const\b/)) return text;
    moved.add(index + 1);
    return `const ${text.slice("var ".length)}`;
  });
  return { code: lines.join("\n"), moved };
}

function originalPlace(map: SourceMap, line: number, column: number): Place | null {
  const entry = map.findEntry(line - 1, column - 1);
  if (!("originalLine" in entry) || entry.generatedLine !== line - 1) return null;
  return {
    file: entry.originalSource,
    line: entry.originalLine + 1,
    column: entry.originalColumn + 1,
  };
}
