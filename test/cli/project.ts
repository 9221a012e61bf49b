/** A folder of a script's author, with packages that nobody downloaded. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export interface Project extends Disposable {
  /** Real path. */
  readonly folder: string;
  path(file: string): string;
  /** Path → text; folders come into being. */
  write(files: Record<string, string>): void;
}

/** `using` removes it. */
export function newProject(files: Record<string, string> = {}): Project {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "picloud-project-")));
  const path = (file: string) => join(folder, file);
  const write = (written: Record<string, string>): void => {
    for (const [file, text] of Object.entries(written)) {
      mkdirSync(dirname(path(file)), { recursive: true });
      writeFileSync(path(file), text);
    }
  };
  write(files);
  return {
    folder,
    path,
    write,
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** The files of a package: its index and, when it needs more, its package.json. */
export function packageFiles(name: string, index: string, manifest: object = {}) {
  const at = `node_modules/${name}`;
  return {
    [`${at}/package.json`]: JSON.stringify({ name, main: "index.js", ...manifest }),
    [`${at}/index.js`]: index,
  };
}
