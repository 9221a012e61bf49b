/**
 * The plain pages of the admin listener until the dashboard exists: where the API is, and the form
 * of the setup link. No script, no image, nothing from elsewhere.
 */
import { PicError } from "../../domain/errors.ts";
import { anonymousBodyBytesMax } from "../../domain/limits.ts";
import { setupInput } from "../../schema/accounts.ts";
import type { Accounts } from "../../services/accounts.ts";
import { checkOrigin, setSessionCookie } from "./authentication.ts";
import { readBytes } from "./body.ts";
import type { Listener } from "./endpoint.ts";
import { checked } from "./validation.ts";

export interface PagesOptions {
  accounts: Accounts;
  publicBaseUrl: string | null;
}

const style =
  "body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}" +
  "label,input,button{display:block;font:inherit;width:100%;box-sizing:border-box}" +
  "input,button{margin:.25rem 0 1rem;padding:.5rem}[role=alert]{color:#b00020}";
const styleHash = new Bun.CryptoHasher("sha256").update(style).digest("base64");

const pageHeaders = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
  // The address of the setup page holds its token.
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "content-security-policy":
    `default-src 'none'; style-src 'sha256-${styleHash}'; form-action 'self'; ` +
    "base-uri 'none'; frame-ancestors 'none'",
};

/** The answer to a request for a page; null when it asks for something else. */
export async function adminPage(
  request: Request,
  where: { listener: Listener },
  options: PagesOptions,
): Promise<Response | null> {
  const url = new URL(request.url);
  if (url.pathname !== "/admin" && !url.pathname.startsWith("/admin/")) return null;
  if (where.listener !== "admin") throw notFound();
  switch (`${request.method} ${url.pathname}`) {
    case "GET /admin":
      return redirect("/admin/");
    case "GET /admin/":
      return html(200, homePage());
    case "GET /admin/setup":
      return setupPage(url.searchParams.get("token") ?? "", options.accounts);
    case "POST /admin/setup":
      return submitSetup(request, options);
    default:
      throw notFound();
  }
}

function setupPage(token: string, accounts: Accounts): Response {
  return accounts.isSetupToken(token)
    ? html(200, setupForm({ token, username: "", problem: null }))
    : html(403, linkRefused());
}

async function submitSetup(request: Request, options: PagesOptions): Promise<Response> {
  checkOrigin(request, options.publicBaseUrl);
  const bytes = await readBytes(request, anonymousBodyBytesMax);
  const form = new URLSearchParams(new TextDecoder().decode(bytes));
  const [token, username, password] = ["token", "username", "password"].map(
    (name) => form.get(name) ?? "",
  ) as [string, string, string];
  if (!options.accounts.isSetupToken(token)) return html(403, linkRefused());
  try {
    const input = checked(setupInput, { token, username, password });
    if (input === undefined) throw notFound();
    const login = await options.accounts.setup(input);
    return redirect("/admin/", {
      "set-cookie": setSessionCookie(login.token, options.publicBaseUrl),
    });
  } catch (error) {
    if (!(error instanceof PicError)) throw error;
    if (error.code === "forbidden") return html(403, linkRefused());
    return html(422, setupForm({ token, username, problem: error.message }));
  }
}

function homePage(): string {
  return page(
    "PiCloud is running",
    "<p>The admin API is at <code>/api/v1/admin</code>. Log in with " +
      "<code>POST /api/v1/admin/auth/login</code>.</p>" +
      "<p>No account yet? Open the setup link that PiCloud printed when it started.</p>",
  );
}

function linkRefused(): string {
  return page(
    "This setup link does not work",
    "<p>It is used, has expired, or belongs to an earlier start. While there is no account, " +
      "PiCloud prints a new link at every start.</p>",
  );
}

function setupForm(form: { token: string; username: string; problem: string | null }): string {
  const problem = form.problem === null ? "" : `<p role="alert">${escapeHtml(form.problem)}</p>`;
  return page(
    "Make the first account",
    `${problem}<form method="post" action="/admin/setup">` +
      `<input type="hidden" name="token" value="${escapeHtml(form.token)}">` +
      '<label for="username">Username</label>' +
      '<input id="username" name="username" autocomplete="username" autocapitalize="none" ' +
      `required maxlength="64" value="${escapeHtml(form.username)}">` +
      '<label for="password">Password</label>' +
      '<input id="password" name="password" type="password" autocomplete="new-password" ' +
      'required minlength="10" maxlength="256">' +
      "<button>Make the account</button></form>",
  );
}

function page(title: string, body: string): string {
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">' +
    '<meta name="viewport" content="width=device-width">' +
    `<title>${title}</title><style>${style}</style></head>` +
    `<body><h1>${title}</h1>${body}</body></html>\n`
  );
}

function html(status: number, text: string): Response {
  return new Response(text, { status, headers: pageHeaders });
}

function redirect(location: string, headers: Record<string, string> = {}): Response {
  return new Response(null, {
    status: 303,
    headers: { location, "cache-control": "no-store", ...headers },
  });
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function notFound(): PicError {
  return new PicError("not_found", "There is no such page");
}
