/**
 * The author's lines and columns for the errors of records: finds the source map that was stored
 * with the version that ran.
 */
import { LRUCache } from "lru-cache";
import { recordMapBytesMax } from "../domain/limits.ts";
import { createPositionMapper } from "../sandbox/positions.ts";
import type { Database } from "../storage/port.ts";
import { getVersion } from "../storage/scripts.ts";
import type { ErrorMapper } from "./recording.ts";

/** Versions never change, so what was read of one stays true. Rejects when the database is gone. */
export function createErrorMapper(db: Database): ErrorMapper {
  const positions = createPositionMapper();
  const maps = new LRUCache<string, string>({
    maxSize: recordMapBytesMax,
    // a version that is gone has an empty one
    sizeCalculation: (map) => map.length * 2 + 256,
  });
  return async (error, { script_id, script_name, version }) => {
    const id = `${script_id}@${version}`;
    let map = maps.get(id);
    if (map === undefined) {
      map = (await getVersion(db, script_id, version))?.source_map ?? "";
      maps.set(id, map);
    }
    const found = map;
    return positions.mapError(error, (name) =>
      name === script_name && found !== "" ? found : null,
    );
  };
}
