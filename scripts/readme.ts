/** Writes the configuration table of the README from its one declaration; a test compares them. */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { settingsMarkdown } from "../src/settings.ts";

const readme = resolve(import.meta.dir, "../README.md");
const place = /(<!-- settings:.*-->\n)[\s\S]*(<!-- \/settings -->)/;

/** The README with the table as it should be. */
export function withSettings(text: string): string {
  return text.replace(
    place,
    (_, open: string, close: string) => `${open}${settingsMarkdown()}\n${close}`,
  );
}

if (import.meta.main) writeFileSync(readme, withSettings(readFileSync(readme, "utf8")));
