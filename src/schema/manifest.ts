/**
 * The manifest of an app, as a file (`picloud.json`) and on the wire, where each script brings its source
 * with it. docs/manifest.schema.json is made from it. Names, patterns and numbers are judged by domain/.
 */
import {
  descriptionCharsMax,
  manifestFileCharsMax,
  manifestRoutesPerScriptMax,
  manifestScriptsMax,
  nameCharsMax,
  sourceBytesMax,
  triggersPerAppMax,
} from "../domain/limits.ts";
import { type } from "./arktype.ts";
import { routeInput } from "./routes.ts";
import { ownLimits } from "./scripts.ts";
import { cronSettings, dataSettings, settings } from "./triggers.ts";

// merge() takes over what is said about other members: each of these says it.
const dataTrigger = dataSettings.merge({ "+": "reject", kind: "'kv' | 'docs'" });
const cronTrigger = cronSettings.merge({ "+": "reject", kind: "'cron'", expression: "string" });
const deadLetterTrigger = settings.merge({ "+": "reject", kind: "'dead_letter'" });

export const manifestTrigger = dataTrigger.or(cronTrigger).or(deadLetterTrigger);
export type ManifestTrigger = typeof manifestTrigger.infer;

const filePath = `1 <= string <= ${manifestFileCharsMax}`;

/** What is absent has its default, also where the script that is there has something else. */
const scriptSettings = type({
  "+": "reject",
  name: `1 <= string <= ${nameCharsMax}`,
  "kind?": "'endpoint' | 'module'",
  "description?": `string <= ${descriptionCharsMax}`,
  "limits?": ownLimits,
  "public_execute?": "boolean",
  "routes?": routeInput.array().atMostLength(manifestRoutesPerScriptMax),
  "triggers?": manifestTrigger.array().atMostLength(triggersPerAppMax),
});

export const manifestScript = scriptSettings.merge({ "+": "reject", file: filePath });
export type ManifestScript = typeof manifestScript.infer;

/** The file. `app` is an id or a slug. */
export const manifest = type({
  "+": "reject",
  "$schema?": "string <= 2048",
  app: "1 <= string <= 64",
  scripts: manifestScript.array().atMostLength(manifestScriptsMax),
});
export type Manifest = typeof manifest.infer;

/** `file` is where the author keeps it: errors name it. */
export const deploymentScript = scriptSettings.merge({
  "+": "reject",
  source: `string <= ${sourceBytesMax}`,
  "file?": filePath,
});
export type DeploymentScript = typeof deploymentScript.infer;

export const deploymentInput = type({
  "+": "reject",
  scripts: deploymentScript.array().atMostLength(manifestScriptsMax),
  "dry_run?": "boolean",
  "prune?": "boolean",
});
export type DeploymentInput = typeof deploymentInput.infer;

export const deploymentChange = type({
  action: "'create' | 'change' | 'delete' | 'unchanged'",
  kind: "'script' | 'route' | 'trigger'",
  script: "string",
  name: "string",
  detail: "string",
});
export type WireDeploymentChange = typeof deploymentChange.infer;

const warning = type({
  path: "string",
  message: "string",
  "file?": "string",
  "line?": "number",
  "column?": "number",
});

/** `applied` is false of a dry run: then it is what would have been done. */
export const deployment = type({
  applied: "boolean",
  changes: deploymentChange.array(),
  warnings: warning.array(),
});
export type WireDeployment = typeof deployment.infer;
