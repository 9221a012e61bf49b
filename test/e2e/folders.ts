/** Folders for the tests of one file, gone after the last of them. */
import { afterAll, beforeAll } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Folders {
  /** Where they are. Only while a test runs. */
  readonly root: string;
  /** Makes one, and those above it; returns its path. */
  folder(name: string): string;
}

/** Call at the top level of a test file. Another user may enter the root. */
export function useFolders(): Folders {
  let root = "";
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), "picloud-folders-"));
    chmodSync(root, 0o755);
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  return {
    get root() {
      return root;
    },
    folder(name) {
      const path = join(root, name);
      mkdirSync(path, { recursive: true });
      return path;
    },
  };
}
