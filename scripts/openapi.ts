/**
 * Writes docs/openapi.json, the text of what `GET /api/v1/admin/openapi.json` answers. A test fails
 * when the two differ.
 */
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { openApiDocument } from "../src/http/admin/openapi.ts";

const path = resolve(import.meta.dir, "../docs/openapi.json");
writeFileSync(path, await openApiDocument());
console.log(path);
