/** Entries of an app: keys and values. */
import type { Command } from "commander";
import { kvValueBytesMax } from "../../domain/limits.ts";
import type { WireDataCollection } from "../../schema/data.ts";
import type { WireKvEntry } from "../../schema/data-kv.ts";
import type { PicContext } from "../context.ts";
import { givenJson, givenText } from "../json-input.ts";
import type { Column } from "../output.ts";
import { listedItems } from "../pages.ts";
import { safeJson } from "../printable.ts";
import { type AppChoice, appMeaning, appOption, chosenApp } from "../script-choice.ts";
import { wholeNumber } from "../whole-number.ts";
import { registerTransfer } from "./transfer.ts";

interface ListOptions extends AppChoice {
  prefix?: string;
  all?: boolean;
}

interface SetOptions extends AppChoice {
  file?: string;
  text?: boolean;
  ttl?: number;
  ifVersion?: number;
}

export const collectionColumns: readonly Column<WireDataCollection>[] = [
  { title: "NAME", value: ({ name }) => name },
  {
    title: "RECORDS",
    value: ({ records, more }) => `${records}${more ? "+" : ""}`,
    align: "right",
  },
  { title: "BYTES", value: ({ bytes, more }) => `${bytes}${more ? "+" : ""}`, align: "right" },
];

const columns: readonly Column<WireKvEntry>[] = [
  { title: "KEY", value: ({ key }) => key },
  { title: "VALUE", value: ({ value }) => JSON.stringify(value) },
  { title: "VERSION", value: ({ version }) => version, align: "right" },
  { title: "UPDATED", value: ({ updated_at }) => updated_at },
  { title: "EXPIRES", value: ({ expires_at }) => expires_at },
];

export function registerKv(program: Command, pic: PicContext): void {
  const kv = program.command("kv").summary("entries of an app: keys and values");
  kv.command("ls")
    .summary("list the collections, or the entries of one")
    .argument("[collection]", "its name")
    .option(appOption, appMeaning)
    .option("--prefix <text>", "only keys that begin with it")
    .option("--all", "all pages of a long list")
    .action((collection: string | undefined, options: ListOptions) =>
      list(pic, collection, options),
    );
  kv.command("get")
    .summary("print a value, as JSON")
    .argument("<collection>", "its name")
    .argument("<key>", "of the entry")
    .option(appOption, appMeaning)
    .option("--entry", "with version and times")
    .action(async (collection: string, key: string, options: AppChoice & { entry?: boolean }) => {
      const entry = await pic.client().kv.get(chosenApp(pic, options), { collection, key });
      if (options.entry === true) pic.output.one(entry, columns);
      else pic.output.text(`${safeJson(entry.value)}\n`);
    });
  kv.command("set")
    .summary("write a value")
    .argument("<collection>", "its name")
    .argument("<key>", "of the entry")
    .argument("[value]", "JSON; - or nothing: standard input")
    .option(appOption, appMeaning)
    .option("--file <file>", "take the value from this file")
    .option("--text", "it is a text as it stands, not JSON")
    .option("--ttl <seconds>", "it expires after them", wholeNumber)
    .option(
      "--if-version <version>",
      "only when it has this one; 0: when it is not there",
      wholeNumber,
    )
    .action((collection: string, key: string, value: string | undefined, options: SetOptions) =>
      set(pic, { collection, key }, value, options),
    );
  kv.command("delete")
    .summary("delete an entry")
    .argument("<collection>", "its name")
    .argument("<key>", "of the entry")
    .option(appOption, appMeaning)
    .option("--if-version <version>", "only when it has this one", wholeNumber)
    .action(
      async (collection: string, key: string, options: AppChoice & { ifVersion?: number }) => {
        const { ifVersion: if_version } = options;
        const place = { collection, key, ...(if_version === undefined ? {} : { if_version }) };
        await pic.client().kv.delete(chosenApp(pic, options), place);
        pic.output.note(`Deleted ${key} of ${collection}.`);
      },
    );
  registerTransfer(kv, pic, "kv");
}

async function list(
  pic: PicContext,
  collection: string | undefined,
  options: ListOptions,
): Promise<void> {
  const { prefix, all = false } = options;
  const client = pic.client();
  const app = chosenApp(pic, options);
  if (collection === undefined) {
    const found = await listedItems(pic, all, (page) => client.kv.collections(app, page));
    return pic.output.list(found, collectionColumns);
  }
  const asked = { collection, ...(prefix === undefined ? {} : { prefix }) };
  const items = await listedItems(pic, all, (page) =>
    client.kv.entries(app, { ...asked, ...page }),
  );
  pic.output.list(items, columns);
}

async function set(
  pic: PicContext,
  place: { collection: string; key: string },
  given: string | undefined,
  options: SetOptions,
): Promise<void> {
  const { file, text = false, ttl, ifVersion } = options;
  const bounds = { name: "<value>", bytesMax: kvValueBytesMax };
  const read = text ? givenText : givenJson;
  const value = await read(pic, { value: given, file }, bounds);
  const written = await pic.client().kv.set(chosenApp(pic, options), {
    ...place,
    value,
    ...(ttl === undefined ? {} : { ttl_seconds: ttl }),
    ...(ifVersion === undefined ? {} : { if_version: ifVersion }),
  });
  if (pic.output.format === "json") pic.output.json(written);
  pic.output.note(`Wrote ${place.key} of ${place.collection}, version ${written.version}.`);
}
