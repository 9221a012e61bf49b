/** Lists of the API, which come in pages. */
import type { PageOptions } from "../client.ts";
import { cliRowsMax, listLimitMax } from "../domain/limits.ts";
import type { PicContext } from "./context.ts";
import { notPiCloud } from "./failures.ts";

interface Page<Item> {
  items: Item[];
  next_cursor: string | null;
}

/** All items, page by page; a list of up to 200 is one request. Says so when there are too many. */
export async function allItems<Item>(
  pic: PicContext,
  list: (page: PageOptions) => Promise<Page<Item>>,
  rowsMax: number = cliRowsMax,
): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | null = null;
  let pages = 0;
  do {
    const limit = Math.min(listLimitMax, rowsMax - items.length);
    const page: Page<Item> = await list(cursor === null ? { limit } : { limit, cursor });
    if (!Array.isArray(page.items)) throw notPiCloud(pic.url() ?? "", "answered without a list");
    items.push(...page.items);
    cursor = page.next_cursor;
    pages += 1;
    // A page may be empty and not the last; a server that has nothing but such pages is not believed.
  } while (cursor !== null && items.length < rowsMax && pages < rowsMax);
  if (cursor !== null) pic.output.note(`These are the first ${items.length}; there are more.`);
  return items;
}

/** One page, which is one request; with `all` the following ones, too. Says so when there is more. */
export async function listedItems<Item>(
  pic: PicContext,
  all: boolean,
  list: (page: PageOptions) => Promise<Page<Item>>,
): Promise<Item[]> {
  if (all) return allItems(pic, list);
  const { items, next_cursor } = await list({ limit: listLimitMax });
  if (!Array.isArray(items)) throw notPiCloud(pic.url() ?? "", "answered without a list");
  if (next_cursor !== null) {
    pic.output.note(`These are the first ${items.length}; --all shows the others, too.`);
  }
  return items;
}
