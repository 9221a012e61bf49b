/** What happened: the records of executions, those still in the buffer included. */
import { authorise } from "../domain/access.ts";
import type { Actor } from "../domain/accounts.ts";
import { PicError } from "../domain/errors.ts";
import type { ExecutionRecord } from "../domain/executions.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import type { Database } from "../storage/port.ts";
import { getScript } from "../storage/scripts.ts";

/** Reads the sink and its buffer as one list. */
export interface ExecutionReader {
  /** Newest first. */
  list(scriptId: string, page: PageRequest): Promise<Page<ExecutionRecord>>;
  get(id: string): Promise<ExecutionRecord | null>;
}

export class Executions {
  constructor(private readonly options: { db: Database; records: ExecutionReader }) {}

  /** Newest first. Throws PicError `not_found`, `invalid` (a bad cursor). */
  async listOfScript(scriptId: string, page: PageRequest): Promise<Page<ExecutionRecord>> {
    if ((await getScript(this.options.db, scriptId)) === null) {
      throw new PicError("not_found", "There is no such script");
    }
    return this.options.records.list(scriptId, page);
  }

  /**
   * Throws PicError `not_found`: never was, was not kept, is past retention, or of an app that the actor
   * does not see; `forbidden`.
   */
  async get(actor: Actor, id: string): Promise<ExecutionRecord> {
    const record = await this.options.records.get(id);
    const what = "execution, or its record was not kept";
    if (record === null) throw new PicError("not_found", `There is no such ${what}`);
    authorise(actor, "execution.read", { app_id: record.app_id }, what);
    return record;
  }
}
