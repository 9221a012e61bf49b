/** `deployments`: an app becomes what a manifest says. */
import { deploymentBodyBytesMax } from "../../domain/limits.ts";
import { deployment, deploymentInput } from "../../schema/manifest.ts";
import type { Deployments } from "../../services/deployments.ts";
import { type Endpoint, endpoint, ok } from "./endpoint.ts";
import { withWireRoutes } from "./routes.ts";

export function deploymentEndpoints(deployments: Deployments): Endpoint[] {
  return [
    endpoint({
      operation: "deployments.create",
      method: "POST",
      path: "/apps/:app/deployments",
      summary:
        "Make the scripts, routes and triggers of an app what a manifest says, all or nothing",
      action: "deployment.write",
      input: {
        body: deploymentInput,
        lists: ["scripts", "routes", "triggers", "operations"],
        bytesMax: deploymentBodyBytesMax,
      },
      output: deployment,
      errors: [
        "not_found",
        "invalid_source",
        "limit_above_ceiling",
        "conflict",
        "route_conflict",
        "version_conflict",
        "timeout",
      ],
      handle: async ({ actor, params, body }) => {
        try {
          return ok(await deployments.create(actor, params.app as string, body));
        } catch (error) {
          throw withWireRoutes(error);
        }
      },
    }),
  ];
}
