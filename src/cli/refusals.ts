/** What the server says about sources, in the author's files, lines and columns. */
import { PicClientError, type Problem } from "../client.ts";
import type { Bundled } from "./bundle.ts";
import { EXIT } from "./exit-codes.ts";
import { PicFailure } from "./failures.ts";

/** A script that was sent. */
export interface SentScript extends Pick<Bundled, "positions"> {
  name: string;
  /** As people know its file, from where they are. */
  shown: string;
  /** Makes a path one that people know. */
  show: (file: string) => string;
}

type Remark = Omit<NonNullable<Problem["errors"]>[number], "path"> & { path: string };

/** `src/hello.ts:3:14: message`. @param manifest as people know it; null when there is none */
export function remarkLine(remark: Remark, sent: SentScript[], manifest: string | null): string {
  const { path, message, line, column } = remark;
  const { script, rest } = addressed(path, sent, manifest !== null);
  if (script !== null && rest === "source" && line !== undefined) {
    return `${placeOf(script, line, column ?? 1)}: ${message}`;
  }
  if (script !== null && (rest === "source" || rest === "")) return `${script.shown}: ${message}`;
  if (manifest === null) return path === "" ? message : `${path}: ${message}`;
  const whose = script === null ? path : `${path} (${script.name})`;
  return `${manifest}: ${whose}: ${message}`;
}

/** The same error in the author's terms; any other stays what it is. */
export function inAuthorsTerms(
  error: unknown,
  sent: SentScript[],
  manifest: string | null,
): unknown {
  if (!(error instanceof PicClientError) || !Array.isArray(error.problem?.errors)) return error;
  const [first, ...more] = error.problem.errors.map((one) => remarkLine(one, sent, manifest));
  if (first === undefined) return error;
  return new PicFailure(first, { exit: EXIT.failure, lines: more, cause: error });
}

/** Which script a path is about: `scripts[2].source`, or `source` of the only one. */
function addressed(
  path: string,
  sent: SentScript[],
  isManifest: boolean,
): { script: SentScript | null; rest: string } {
  if (!isManifest) return { script: sent[0] ?? null, rest: path };
  const [, index = "", rest = ""] = /^scripts\[(\d+)\]\.?(.*)$/s.exec(path) ?? [];
  return { script: index === "" ? null : (sent[Number(index)] ?? null), rest };
}

function placeOf({ positions, shown, show }: SentScript, line: number, column: number): string {
  if (positions === null) return `${shown}:${line}:${column}`;
  const place = positions.original(line, column);
  if (place === null) return `${shown} (bundled, line ${line}, column ${column})`;
  return `${show(place.file)}:${place.line}:${place.column}`;
}
