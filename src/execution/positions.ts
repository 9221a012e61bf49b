/**
 * The author's lines and columns for the errors of records: finds the source map that was stored
 * with the version that ran.
 */
import { LRUCache } from "lru-cache";
import { recordMapBytesMax } from "../domain/limits.ts";
import { createPositionMapper } from "../sandbox/positions.ts";
import type { Database } from "../storage/port.ts";
import { getSourceMap } from "../storage/scripts.ts";
import type { ErrorMapper } from "./recording.ts";

/** Versions never change, so what was read of one stays true. Rejects when the database is gone. */
export function createErrorMapper(db: Database): ErrorMapper {
  const positions = createPositionMapper();
  const known = new LRUCache<string, string>({
    maxSize: recordMapBytesMax,
    // a version that is gone has an empty one
    sizeCalculation: (map) => map.length * 2 + 256,
  });
  const mapOf = async (script_id: string, version: number): Promise<string> => {
    const id = `${script_id}@${version}`;
    const found = known.get(id);
    if (found !== undefined) return found;
    const map = (await getSourceMap(db, script_id, version)) ?? "";
    known.set(id, map);
    return map;
  };
  return async (error, { script_id, script_name, version, modules }) => {
    const maps = new Map([[script_name, await mapOf(script_id, version)]]);
    for (const module of modules?.versions.values() ?? []) {
      // a stack has few frames: only modules that may stand in one of them are read
      if (!error.stack.includes(`${module.name}:`)) continue;
      maps.set(module.name, await mapOf(module.script_id, module.number));
    }
    return positions.mapError(error, (name) => maps.get(name) || null);
  };
}
