import { conformance } from "./conformance/suite.ts";
import { makeFolder, openBoth } from "./sqlite-folder.ts";

conformance({
  name: "SQLite",
  async open(bounds = {}) {
    const folder = makeFolder();
    const { db, logs, close } = await openBoth(folder.path, { bounds });
    return {
      db,
      logs,
      async close() {
        await close();
        folder.remove();
      },
    };
  },
});
