/** Routes: which requests run which script. */
import type { Command } from "commander";
import type { PicClient } from "../../client.ts";
import { ROUTE_METHODS } from "../../domain/routes.ts";
import type { CheckOutput, MatchOutput, RouteInput, WireRoute } from "../../schema/routes.ts";
import { choiceOption } from "../choice.ts";
import type { PicContext } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure } from "../failures.ts";
import type { Column } from "../output.ts";
import { allItems } from "../pages.ts";
import {
  type AppChoice,
  appMeaning,
  appOption,
  chosenApp,
  scriptId,
  scriptMeaning,
} from "../script-choice.ts";

interface PatternOptions {
  method?: string;
  host?: string;
  pathKind?: RouteInput["path_kind"];
  hostKind?: RouteInput["host_kind"];
  hostParam?: string;
  async?: boolean;
}

type ShownRoute = WireRoute & { script: string | null };

const columns: readonly Column<ShownRoute>[] = [
  { title: "METHOD", value: ({ method }) => method },
  { title: "HOST", value: ({ host }) => host },
  { title: "PATH", value: ({ path }) => path },
  { title: "KIND", value: ({ path_kind }) => path_kind },
  { title: "MODE", value: ({ dispatch_mode }) => dispatch_mode },
  { title: "SCRIPT", value: ({ script, script_id }) => script ?? script_id },
  { title: "ID", value: ({ id }) => id },
];

const checkColumns: readonly Column<CheckOutput>[] = [
  { title: "OK", value: ({ ok }) => ok },
  { title: "PATH KIND", value: ({ path_kind }) => path_kind },
  { title: "HOST KIND", value: ({ host_kind }) => host_kind },
  { title: "CONFLICT", value: ({ conflicting_route: route }) => route && routeText(route) },
  { title: "CONFLICT ID", value: ({ conflicting_route: route }) => route?.id },
];

const matchColumns: readonly Column<MatchOutput>[] = [
  { title: "ROUTE", value: ({ route }) => route && routeText(route) },
  { title: "SCRIPT ID", value: ({ script_id }) => script_id },
  { title: "PARAMS", value: ({ params }) => params && JSON.stringify(params) },
  { title: "REST", value: ({ rest }) => rest },
  { title: "ROUTE ID", value: ({ route }) => route?.id },
];

export function registerRoutes(program: Command, pic: PicContext): void {
  const routes = program.command("routes").summary("which requests run which script");
  routes
    .command("ls")
    .summary("list the routes of a script, or of all scripts of an app")
    .argument("[script]", scriptMeaning)
    .option(appOption, appMeaning)
    .action((script: string | undefined, choice: AppChoice) => list(pic, script, choice));
  withPattern(
    routes
      .command("add")
      .summary("route requests to a script")
      .argument("<script>", scriptMeaning)
      .argument("<path>", "/greet, /greet/* or /users/:id"),
  )
    .option(appOption, appMeaning)
    .action(async (script: string, path: string, options: PatternOptions & AppChoice) => {
      const client = pic.client();
      const id = await scriptId(pic, client, script, options);
      const { warning, ...route } = await client.routes.create(id, patternOf(path, options));
      pic.output.one({ ...route, script }, columns);
      if (warning !== null) pic.output.warn(warning);
    });
  routes
    .command("rm")
    .summary("delete a route")
    .argument("<route>", "its id, which `pic routes ls` shows")
    .action(async (route: string) => {
      await pic.client().routes.delete(route);
      pic.output.note(`Deleted the route ${route}.`);
    });
  withPattern(
    routes
      .command("check")
      .summary("say whether a route could be added; exit code 6 when not")
      .argument("<path>", "/greet, /greet/* or /users/:id"),
  )
    .option("--script <id>", "whose it shall be, to judge hosts that belong to apps")
    .action((path: string, options: PatternOptions & { script?: string }) =>
      check(pic, path, options),
    );
  routes
    .command("match")
    .summary("show which route a request would take; exit code 5 when none")
    .argument("<method>", "GET, POST, …")
    .argument("<url>", "http://blog.home.lan/posts/1")
    .action((method: string, url: string) => match(pic, method, url));
}

function withPattern(command: Command): Command {
  return command
    .addOption(choiceOption("--method <method>", "default: ANY", ROUTE_METHODS))
    .option("--host <host>", "sub.example.com or *.example.com; default: any")
    .addOption(
      choiceOption("--path-kind <kind>", "default: seen from the path", [
        "exact",
        "prefix",
        "param",
      ]),
    )
    .addOption(
      choiceOption("--host-kind <kind>", "default: seen from the host", [
        "any",
        "strict",
        "wildcard",
      ]),
    )
    .option("--host-param <name>", "what a wildcard takes becomes this parameter")
    .option("--async", "answer 202 at once and run the script later");
}

function patternOf(path: string, options: PatternOptions): RouteInput {
  const { method, host, pathKind, hostKind, hostParam, async: isAsync } = options;
  return {
    path,
    // commander has checked it against the same list.
    ...(method === undefined ? {} : { method: method as NonNullable<RouteInput["method"]> }),
    ...(host === undefined ? {} : { host }),
    ...(pathKind === undefined ? {} : { path_kind: pathKind }),
    ...(hostKind === undefined ? {} : { host_kind: hostKind }),
    ...(hostParam === undefined ? {} : { host_param_name: hostParam }),
    ...(isAsync === true ? { dispatch_mode: "async" as const } : {}),
  };
}

async function list(pic: PicContext, script: string | undefined, choice: AppChoice): Promise<void> {
  const client = pic.client();
  const of =
    script === undefined
      ? await allItems(pic, (page) =>
          client.scripts.list({ app: chosenApp(pic, choice), kind: "endpoint", ...page }),
        )
      : [{ id: await scriptId(pic, client, script, choice), name: script }];
  const rows: ShownRoute[] = [];
  for (const { id, name } of of) rows.push(...(await routesOf(pic, client, id, name)));
  pic.output.list(rows, columns);
}

async function routesOf(
  pic: PicContext,
  client: PicClient,
  id: string,
  script: string,
): Promise<ShownRoute[]> {
  const items = await allItems(pic, (page) => client.routes.list(id, page));
  return items.map((route) => ({ ...route, script }));
}

async function check(
  pic: PicContext,
  path: string,
  { script, ...options }: PatternOptions & { script?: string },
): Promise<void> {
  const whose = script === undefined ? {} : { script_id: script };
  const found = await pic.client().routes.check({ ...patternOf(path, options), ...whose });
  pic.output.one(found, checkColumns);
  if (found.warning !== null) pic.output.warn(found.warning);
  if (found.ok) return;
  const { conflicting_route: route, host_taken: isTaken } = found;
  const why =
    route !== null
      ? `it conflicts with ${routeText(route)}`
      : isTaken
        ? "its host belongs to another app"
        : "it conflicts with a route that you may not read";
  throw new PicFailure(`The route cannot be added: ${why}`, { exit: EXIT.conflict });
}

async function match(pic: PicContext, method: string, url: string): Promise<void> {
  const found = await pic.client().routes.match({ method: method.toUpperCase(), url });
  pic.output.one(found, matchColumns);
  if (found.route !== null) return;
  if (found.hidden) return pic.output.note("A route takes it that you may not read.");
  throw new PicFailure(`No route takes ${method.toUpperCase()} ${url}`, { exit: EXIT.notFound });
}

/** `GET blog.example.com/posts/:id`. */
function routeText({ method, host, path }: WireRoute): string {
  return `${method} ${host}${path}`;
}
