/** What the examples of the API's document are made of. Loaded with the document alone. */
import type { Schema } from "../../schema/arktype.ts";

/** A schema under the name that readers and generated clients call it by. */
export interface NamedSchema {
  name: string;
  description: string;
  schema: Schema<unknown>;
  example: unknown;
}

/** Ids are UUIDs of version 7; these are nobody's. */
export const exampleIds = {
  account: "01890a5d-ac96-774b-bcce-b302099a8057",
  app: "01890a5d-ac96-774b-bcce-b302099a8058",
  script: "01890a5d-ac96-774b-bcce-b302099a8059",
  route: "01890a5d-ac96-774b-bcce-b302099a805a",
  execution: "01890a5d-ac96-774b-bcce-b302099a805b",
  request: "01890a5d-ac96-774b-bcce-b302099a805c",
  trigger: "01890a5d-ac96-774b-bcce-b302099a805d",
  event: "01890a5d-ac96-774b-bcce-b302099a805e",
  dead_letter: "01890a5d-ac96-774b-bcce-b302099a805f",
  document: "01890a5d-ac96-774b-bcce-b302099a8060",
  api_key: "01890a5d-ac96-774b-bcce-b302099a8061",
  audit_entry: "01890a5d-ac96-774b-bcce-b302099a8062",
} as const;

export const exampleTime = "2026-03-01T12:00:00.000Z";

/** Of the address of an asynchronous execution: nobody's. */
export const exampleToken = "the-token-of-this-execution";

/** No page follows. */
export const lastPage = { next_cursor: null };

export function named<T>(
  name: string,
  description: string,
  schema: Schema<T>,
  example: NoInfer<T>,
): NamedSchema {
  return { name, description, schema, example };
}
