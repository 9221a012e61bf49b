/** Which app and which script a command is meant for. */
import type { PicClient } from "../client.ts";
import { defaultAppSlug } from "../domain/apps.ts";
import type { WireScriptSummary } from "../schema/scripts.ts";
import type { PicContext } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { PicFailure } from "./failures.ts";
import { appOfFolder } from "./manifest-file.ts";

export const appOption = "--app <app>";
export const appMeaning = "an app's slug or id; default: the app of ./picloud.json, else `default`";
export const scriptMeaning = "its name in the app, or its id";

const idPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export interface AppChoice {
  app?: string;
}

/** The app that is named, else that of the manifest here, else the first one of every server. */
export function chosenApp(pic: PicContext, { app }: AppChoice): string {
  return app ?? appOfFolder(pic.around.workingDir) ?? defaultAppSlug;
}

/** The id of a script: costs one request, none when an id is given. Throws PicFailure when there is none. */
export async function scriptId(
  pic: PicContext,
  client: PicClient,
  script: string,
  choice: AppChoice,
): Promise<string> {
  if (idPattern.test(script)) return script;
  const app = chosenApp(pic, choice);
  const found = await scriptNamed(client, app, script);
  if (found !== null) return found.id;
  throw new PicFailure(`There is no script ${script} in the app ${app}`, {
    exit: EXIT.notFound,
    next: `\`pic scripts ls --app ${app}\` shows those that are there`,
  });
}

/** Null when the app has none of that name. */
export async function scriptNamed(
  client: PicClient,
  app: string,
  name: string,
): Promise<WireScriptSummary | null> {
  const { items } = await client.scripts.list({ app, name, limit: 1 });
  return items.find((one) => one.name === name) ?? null;
}
