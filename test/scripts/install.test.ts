/** What `scripts/` installs runs nothing by itself. */
import { expect, test } from "bun:test";
import manifest from "../../package.json";

test("installing the packages runs no script of theirs", () => {
  // Bun trusts some packages of its own choice when nothing is said; one of them reports to a
  // server who installs what.
  expect(manifest.trustedDependencies).toEqual([]);
});
