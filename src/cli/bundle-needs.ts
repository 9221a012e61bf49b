/** Who in a bundle needs what the sandbox lacks: the packages and files, by name. */
import { readFileSync } from "node:fs";
import { fieldErrorsMax } from "../domain/limits.ts";
import { absentGlobals, isRequiredInBlock } from "./bundle-missing.ts";
import { bundledFile, isOwnFile, missingNamespace, shownPath } from "./bundle-plugin.ts";
import { EXIT } from "./exit-codes.ts";
import { PicFailure } from "./failures.ts";

/** Throws PicFailure for modules that cannot be done without; says which others are not there. */
export function judgeMissing(folder: string, metafile: Bun.BuildMetafile): string[] {
  const fatal = new Set<string>();
  const optional = new Set<string>();
  for (const importer of usedFiles(metafile)) {
    const path = bundledFile(importer);
    for (const { path: target, kind, original } of metafile.inputs[importer]?.imports ?? []) {
      const name = missingName(target, original);
      if (name === null) continue;
      const isOptional =
        kind === "dynamic-import" ||
        (kind === "require-call" && isRequiredInBlock(textOf(path), name));
      (isOptional ? optional : fatal).add(`${name}, which ${importerName(folder, path)} imports`);
    }
  }
  const [first, ...more] = fatal;
  if (first === undefined) {
    return [...optional].map((said) => `the sandbox has no ${said}: reaching that code fails`);
  }
  throw new PicFailure(`The sandbox has no ${first}`, {
    exit: EXIT.failure,
    lines: more.slice(0, fieldErrorsMax).map((said) => `  nor ${said}`),
    next: "use a package that needs nothing of Node.js, such as one made for browsers",
  });
}

/** @param minified all of it, with short names for what is declared */
export function globalWarnings(
  folder: string,
  metafile: Bun.BuildMetafile,
  minified: string,
): string[] {
  const packaged = usedFiles(metafile)
    .map(bundledFile)
    .filter((path) => !isOwnFile(path));
  return absentGlobals(minified).flatMap((name) => {
    const word = new RegExp(`(?<![.\\w$])${name}(?![\\w$])`);
    const user = packaged.find((path) => word.test(textOf(path)));
    if (user === undefined) return [];
    return [`the sandbox has no ${name}, which ${importerName(folder, user)} seems to use`];
  });
}

/** The files of which something is left in the bundle. */
function usedFiles({ outputs }: Bun.BuildMetafile): string[] {
  return Object.values(outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([path, part]) => (part.bytesInOutput > 0 ? [path] : [])),
  );
}

/** What a stand-in stands for; null for any other file. */
function missingName(target: string, original: string | undefined): string | null {
  const prefix = `${missingNamespace}:`;
  return target.startsWith(prefix) ? (original ?? target.slice(prefix.length)) : null;
}

/** `node_modules/left-pad/index.js (left-pad)`. */
function importerName(folder: string, path: string): string {
  const shown = shownPath(folder, path);
  const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(shown)?.[1];
  return found === undefined ? shown : `${found} (${shown})`;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
