/** `export` and `import`, alike for entries and documents. */
import type { Command } from "commander";
import type { ImportSettings } from "../../schema/data.ts";
import { choiceOption } from "../choice.ts";
import type { PicContext } from "../context.ts";
import { openLines, saveLines } from "../record-files.ts";
import { type AppChoice, appMeaning, appOption, chosenApp } from "../script-choice.ts";

interface ExportOptions extends AppChoice {
  to: string;
  force?: boolean;
}

interface ImportOptions extends AppChoice {
  collection?: string;
  mode?: NonNullable<ImportSettings["mode"]>;
  dryRun?: boolean;
  emit?: boolean;
}

/** A stream has no end that could be told beforehand. */
const streaming = { timeoutMs: null };

export function registerTransfer(of: Command, pic: PicContext, source: "kv" | "docs"): void {
  of.command("export")
    .summary("print records as JSON Lines, or write them to a file")
    .argument("[collection]", "default: all of them")
    .option(appOption, appMeaning)
    .option("--to <file>", "write to this file; - is standard output", "-")
    .option("--force", "replace the file when it is there")
    .action(async (collection: string | undefined, options: ExportOptions) => {
      const { to, force = false } = options;
      const asked = collection === undefined ? {} : { collection };
      const response = await pic.client(streaming)[source].export(chosenApp(pic, options), asked);
      await saveLines(pic, response, { to, force });
    });
  of.command("import")
    .summary("write records that come as JSON Lines")
    .argument("[file]", "- or nothing: standard input")
    .option(appOption, appMeaning)
    .option("--collection <name>", "put all records into this collection")
    .addOption(
      choiceOption("--mode <mode>", "for records that are there already; default: fail", [
        "merge",
        "skip",
        "fail",
      ]),
    )
    .option("--dry-run", "only count what would be done")
    .option("--emit", "let triggers see what is written")
    .action(async (file: string | undefined, options: ImportOptions) => {
      const { collection, mode, dryRun, emit } = options;
      const settings: ImportSettings = {
        ...(collection === undefined ? {} : { collection }),
        ...(mode === undefined ? {} : { mode }),
        ...(dryRun === true ? { dry_run: true } : {}),
        ...(emit === true ? { emit: true } : {}),
      };
      const lines = openLines(pic, file);
      const client = pic.client(streaming);
      const counts = await client[source].import(chosenApp(pic, options), lines, settings);
      pic.output.one(counts, [
        { title: "IMPORTED", value: ({ imported }) => imported },
        { title: "UPDATED", value: ({ updated }) => updated },
        { title: "SKIPPED", value: ({ skipped }) => skipped },
      ]);
    });
}
