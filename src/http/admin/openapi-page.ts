/**
 * The API's document, and the page that shows it: Swagger UI from files inside the executable. They
 * are read from there when somebody asks and not kept, and nothing comes from another machine; the
 * policy in the headers holds the page to that, and to running no script but ours.
 *
 * The admin listener gives both to anybody who can reach it, as it does its other pages: the document
 * says nothing about this PiCloud, only what every PiCloud can do. The public listener may face the
 * Internet, and there nobody shall be told what is served here before saying who they are.
 */
import license from "swagger-ui-dist/LICENSE" with { type: "file" };
import style from "swagger-ui-dist/swagger-ui.css" with { type: "file" };
import script from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" };
import scriptLicense from "swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt" with { type: "file" };
import { PicError } from "../../domain/errors.ts";
import { type AuthenticationOptions, authenticate } from "./authentication.ts";
import type { Listener } from "./endpoint.ts";
import { icon } from "./pages-style.ts";

const documentPath = "/api/v1/admin/openapi.json";
const pagePath = "/admin/api/";

/** An hour: so much of an old page may be seen after an upgrade, and a reload costs nothing. */
const assetMaxAgeS = 3_600;

const page =
  '<!doctype html><html lang="en"><head><meta charset="utf-8">' +
  '<meta name="viewport" content="width=device-width,initial-scale=1">' +
  `<title>API · PiCloud</title><link rel="icon" href="${icon}">` +
  '<link rel="stylesheet" href="swagger-ui.css"></head>' +
  '<body><div id="api"></div><script src="swagger-ui-bundle.js"></script>' +
  '<script src="start.js"></script></body></html>\n';

/**
 * `validatorUrl`: without it the page would show a badge from swagger.io. Neither the address of the
 * page nor what it stores can name another document or keep a token.
 */
const startScript = `SwaggerUIBundle({
  url: ${JSON.stringify(documentPath)},
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  queryConfigEnabled: false,
  validatorUrl: null,
});
`;

const pageHeaders = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
  "referrer-policy": "same-origin",
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
};

/** What `isDocumentPath` says yes to is answered by `documentAnswer`. */
export function isDocumentPath(path: string): boolean {
  return path === documentPath || path === "/admin/api" || path.startsWith(pagePath);
}

/** Made at the first request and kept: some 160 KB. */
let document: Promise<string> | null = null;

/**
 * The document, its page or a file of the page. HEAD comes here as GET.
 * Throws PicError `not_found`, `method_not_allowed`, `unauthenticated`.
 */
export async function documentAnswer(
  request: Request,
  where: { listener: Listener; remote_address: string },
  options: AuthenticationOptions,
): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (pathname !== documentPath && where.listener === "public") throw notFound();
  const give = answerTo(pathname);
  if (give === null) throw notFound();
  if (request.method !== "GET") {
    throw new PicError("method_not_allowed", "This address can only be read", {
      allow: ["GET", "HEAD"],
    });
  }
  if (where.listener === "public") await authenticate(request, where, options);
  return give();
}

function answerTo(path: string): (() => Response | Promise<Response>) | null {
  switch (path) {
    case documentPath:
      return readDocument;
    case "/admin/api":
      return () => answer(null, { location: pagePath, "cache-control": "no-store" }, 303);
    case pagePath:
      return () => answer(page, pageHeaders);
    case `${pagePath}start.js`:
      return () => answer(startScript, assetHeaders("text/javascript; charset=utf-8"));
    case `${pagePath}swagger-ui-bundle.js`:
      return () => file(script, "text/javascript; charset=utf-8");
    case `${pagePath}swagger-ui-bundle.js.LICENSE.txt`:
      return () => file(scriptLicense, "text/plain; charset=utf-8");
    case `${pagePath}swagger-ui.css`:
      return () => file(style, "text/css; charset=utf-8");
    case `${pagePath}LICENSE`:
      return () => file(license, "text/plain; charset=utf-8");
    default:
      return null;
  }
}

async function readDocument(): Promise<Response> {
  document ??= import("./openapi.ts").then(({ openApiDocument }) => openApiDocument());
  try {
    const headers = { "content-type": "application/json", "cache-control": "no-store" };
    return answer(await document, headers);
  } catch (error) {
    document = null;
    throw error;
  }
}

function file(path: string, contentType: string): Response {
  return answer(Bun.file(path), assetHeaders(contentType));
}

function assetHeaders(contentType: string): Record<string, string> {
  return { "content-type": contentType, "cache-control": `private, max-age=${assetMaxAgeS}` };
}

function answer(
  body: string | Blob | null,
  headers: Record<string, string>,
  status = 200,
): Response {
  return new Response(body, {
    status,
    headers: { "x-content-type-options": "nosniff", ...headers },
  });
}

function notFound(): PicError {
  return new PicError("not_found", "There is no such page");
}
