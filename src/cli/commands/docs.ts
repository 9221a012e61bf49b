/** Documents of an app. */
import type { Command } from "commander";
import { PicClientError } from "../../client.ts";
import { docBytesMax, docFindLimitMax } from "../../domain/limits.ts";
import type { FindInput, WireDocument, WireDocumentWritten } from "../../schema/data-docs.ts";
import type { PicContext } from "../context.ts";
import { usageFailure } from "../failures.ts";
import { givenJson, parsedJson } from "../json-input.ts";
import type { Column } from "../output.ts";
import { listedItems } from "../pages.ts";
import { safeJson } from "../printable.ts";
import { type AppChoice, appMeaning, appOption, chosenApp } from "../script-choice.ts";
import { wholeNumber } from "../whole-number.ts";
import { collectionColumns } from "./kv.ts";
import { registerTransfer } from "./transfer.ts";

interface FindOptions extends AppChoice {
  where?: string;
  sort?: string;
  limit?: number;
  all?: boolean;
}

interface WriteOptions extends AppChoice {
  file?: string;
  ifVersion?: number;
}

const columns: readonly Column<WireDocument>[] = [
  { title: "ID", value: ({ id }) => id },
  { title: "VALUE", value: ({ value }) => JSON.stringify(value) },
  { title: "VERSION", value: ({ version }) => version, align: "right" },
  { title: "UPDATED", value: ({ updated_at }) => updated_at },
];

const theValue = "JSON; - or nothing: standard input";

export function registerDocs(program: Command, pic: PicContext): void {
  const docs = program.command("docs").summary("documents of an app");
  registerReading(docs, pic);
  registerWriting(docs, pic);
  registerTransfer(docs, pic, "docs");
}

function registerReading(docs: Command, pic: PicContext): void {
  docs
    .command("ls")
    .summary("list the collections, or the documents of one")
    .argument("[collection]", "its name")
    .option(appOption, appMeaning)
    .option("--all", "all pages of a long list")
    .action(async (collection: string | undefined, options: FindOptions) => {
      if (collection !== undefined) return find(pic, collection, options);
      const { all = false } = options;
      const client = pic.client();
      const app = chosenApp(pic, options);
      const found = await listedItems(pic, all, (page) => client.docs.collections(app, page));
      pic.output.list(found, collectionColumns);
    });
  docs
    .command("find")
    .summary("find documents of a collection")
    .argument("<collection>", "its name")
    .option(appOption, appMeaning)
    .option("--where <json>", `'{"age":{"$gte":18}}'`)
    .option("--sort <json>", `'{"name":1}'`)
    .option("--limit <count>", "at most so many", wholeNumber)
    .option("--all", "all pages of a long answer")
    .action((collection: string, options: FindOptions) => find(pic, collection, options));
  docs
    .command("get")
    .summary("print a document, as JSON")
    .argument("<collection>", "its name")
    .argument("<id>", "of the document")
    .option(appOption, appMeaning)
    .option("--entry", "with version and times")
    .action(async (collection: string, id: string, options: AppChoice & { entry?: boolean }) => {
      const found = await pic.client().docs.get(chosenApp(pic, options), { collection, id });
      if (options.entry === true) pic.output.one(found, columns);
      else pic.output.text(`${safeJson(found.value)}\n`);
    });
}

function registerWriting(docs: Command, pic: PicContext): void {
  docs
    .command("insert")
    .summary("make a document; without an id in it, it gets one")
    .argument("<collection>", "its name")
    .argument("[value]", theValue)
    .option(appOption, appMeaning)
    .option("--file <file>", "take the value from this file")
    .action(async (collection: string, given: string | undefined, options: WriteOptions) => {
      const value = await documentOf(pic, given, options);
      const app = chosenApp(pic, options);
      written(pic, collection, await pic.client().docs.insert(app, { collection, value }));
    });
  docs
    .command("set")
    .summary("write a whole document, whether it is there or not")
    .argument("<collection>", "its name")
    .argument("<id>", "of the document")
    .argument("[value]", theValue)
    .option(appOption, appMeaning)
    .option("--file <file>", "take the value from this file")
    .option("--if-version <version>", "only when it has this one", wholeNumber)
    .action((collection: string, id: string, given: string | undefined, options: WriteOptions) =>
      set(pic, { collection, id }, given, options),
    );
  docs
    .command("delete")
    .summary("delete a document")
    .argument("<collection>", "its name")
    .argument("<id>", "of the document")
    .option(appOption, appMeaning)
    .option("--if-version <version>", "only when it has this one", wholeNumber)
    .action(async (collection: string, id: string, options: WriteOptions) => {
      const { ifVersion: if_version } = options;
      const place = { collection, id, ...(if_version === undefined ? {} : { if_version }) };
      await pic.client().docs.delete(chosenApp(pic, options), place);
      pic.output.note(`Deleted ${id} of ${collection}.`);
    });
}

async function find(pic: PicContext, collection: string, options: FindOptions): Promise<void> {
  const { where, sort, limit, all = false } = options;
  if (limit !== undefined && (all || limit < 1 || limit > docFindLimitMax)) {
    throw usageFailure(`--limit is from 1 to ${docFindLimitMax}, and without --all`);
  }
  const query: FindInput = {
    collection,
    ...(where === undefined ? {} : { where: parsedJson(where, "--where") }),
    ...(sort === undefined ? {} : { sort: parsedJson(sort, "--sort") }),
  };
  const client = pic.client();
  const app = chosenApp(pic, options);
  if (limit !== undefined) {
    const { items } = await client.docs.find(app, { ...query, limit });
    return pic.output.list(items, columns);
  }
  const items = await listedItems(pic, all, (page) => client.docs.find(app, { ...query, ...page }));
  pic.output.list(items, columns);
}

async function set(
  pic: PicContext,
  place: { collection: string; id: string },
  given: string | undefined,
  options: WriteOptions,
): Promise<void> {
  const client = pic.client();
  const app = chosenApp(pic, options);
  const value = await documentOf(pic, given, options);
  const { ifVersion: if_version } = options;
  if (if_version !== undefined) {
    const replaced = await client.docs.replace(app, { ...place, value, if_version });
    return written(pic, place.collection, replaced);
  }
  const { collection, id } = place;
  const done = await client.docs.replace(app, { ...place, value }).catch((error: unknown) => {
    const isAbsent = error instanceof PicClientError && error.code === "docs_not_found";
    if (!isAbsent) throw error;
    return client.docs.insert(app, { collection, value: { ...value, id } });
  });
  written(pic, collection, done);
}

async function documentOf(
  pic: PicContext,
  value: string | undefined,
  { file }: WriteOptions,
): Promise<object> {
  const found = await givenJson(pic, { value, file }, { name: "<value>", bytesMax: docBytesMax });
  if (typeof found === "object" && found !== null && !Array.isArray(found)) return found;
  throw usageFailure("A document is a JSON object", `like '{"name":"Ada"}'`);
}

function written(pic: PicContext, collection: string, done: WireDocumentWritten): void {
  pic.output.row(done, [
    { title: "ID", value: ({ id }) => id },
    { title: "VERSION", value: ({ version }) => version },
  ]);
  pic.output.note(`Wrote ${done.id} of ${collection}, version ${done.version}.`);
}
