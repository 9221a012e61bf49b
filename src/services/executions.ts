/** What happened: the records of executions, those still in the buffer included. */
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

  /** Throws PicError `not_found`: never was, was not kept, or is past retention. */
  async get(id: string): Promise<ExecutionRecord> {
    const record = await this.options.records.get(id);
    if (record === null) throw new PicError("not_found", "There is no record of such an execution");
    return record;
  }
}
