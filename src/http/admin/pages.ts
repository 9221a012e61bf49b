/**
 * The plain pages of the admin listener until the dashboard exists: where the API is, and the form
 * of the setup link. No script, nothing from elsewhere; the policy in the headers says so, too.
 */
import { checkPassword, checkUsername, foldUsername } from "../../domain/accounts.ts";
import { PicError } from "../../domain/errors.ts";
import {
  anonymousBodyBytesMax,
  passwordCharsMax,
  passwordCharsMin,
  usernameCharsMax,
} from "../../domain/limits.ts";
import type { Accounts, LoginFrom } from "../../services/accounts.ts";
import { STATUS } from "../errors.ts";
import {
  type AuthenticationOptions,
  authenticate,
  checkOrigin,
  setSessionCookie,
} from "./authentication.ts";
import { readBytes } from "./body.ts";
import type { Listener } from "./endpoint.ts";
import { icon, style } from "./pages-style.ts";

export interface PagesOptions extends AuthenticationOptions {
  accounts: Accounts;
}

interface SetupForm {
  token: string;
  username: string;
  password: string;
}

/** What is wrong with a form: at its fields, or with all of it. */
interface Problems {
  username?: string;
  password?: string;
  form?: string;
}

const styleHash = new Bun.CryptoHasher("sha256").update(style).digest("base64");

const pageHeaders = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
  // The address of the setup page holds its token, which is for nobody else. Not "no-referrer":
  // with it browsers send `Origin: null` along with our own form, which is then refused.
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "content-security-policy":
    `default-src 'none'; style-src 'sha256-${styleHash}'; img-src data:; form-action 'self'; ` +
    "base-uri 'none'; frame-ancestors 'none'",
};

/** The answer to a request for a page; null when it asks for something else. */
export async function adminPage(
  request: Request,
  where: { listener: Listener; remote_address: string; request_id: string },
  options: PagesOptions,
): Promise<Response | null> {
  const url = new URL(request.url);
  if (url.pathname !== "/admin" && !url.pathname.startsWith("/admin/")) return null;
  if (where.listener !== "admin") throw notFound();
  switch (`${request.method} ${url.pathname}`) {
    case "GET /admin":
      return redirect("/admin/");
    case "GET /admin/":
      return html(200, homePage(apiUrl(request, options), await usernameOf(request, options)));
    case "GET /admin/setup":
      return setupPage(url.searchParams.get("token") ?? "", options.accounts);
    case "POST /admin/setup":
      return submitSetup(request, originOf(request, where), options);
    default:
      throw notFound();
  }
}

/** Who is logged in, or null. */
async function usernameOf(request: Request, options: PagesOptions): Promise<string | null> {
  try {
    return (await authenticate(request, { listener: "admin", remote_address: "" }, options)).actor
      .username;
  } catch (error) {
    if (error instanceof PicError && error.code === "unauthenticated") return null;
    throw error;
  }
}

function setupPage(token: string, accounts: Accounts): Response {
  return accounts.isSetupToken(token)
    ? html(200, setupForm({ token, username: "", password: "" }, {}))
    : html(403, linkRefused());
}

async function submitSetup(
  request: Request,
  from: LoginFrom,
  options: PagesOptions,
): Promise<Response> {
  checkOrigin(request);
  const form = await readForm(request);
  if (!options.accounts.isSetupToken(form.token)) return html(403, linkRefused());
  const problems = problemsOf(form);
  if (Object.keys(problems).length > 0) return html(422, setupForm(form, problems));
  try {
    const login = await options.accounts.setup(form, from);
    return redirect("/admin/", {
      "set-cookie": setSessionCookie(login.token, options.publicBaseUrl),
    });
  } catch (error) {
    if (!(error instanceof PicError)) throw error;
    if (error.code === "forbidden") return html(403, linkRefused());
    return html(STATUS[error.code], setupForm(form, { form: error.message }));
  }
}

function originOf(
  request: Request,
  { remote_address: address, request_id }: { remote_address: string; request_id: string },
): LoginFrom {
  const user_agent = request.headers.get("user-agent") ?? "";
  return { address, request_id, user_agent, presented: null };
}

async function readForm(request: Request): Promise<SetupForm> {
  const bytes = await readBytes(request, anonymousBodyBytesMax);
  const form = new URLSearchParams(new TextDecoder().decode(bytes));
  return {
    token: form.get("token") ?? "",
    username: foldUsername((form.get("username") ?? "").trim()),
    password: form.get("password") ?? "",
  };
}

/** All of them at once: a person shall not send a form twice to hear of two. */
function problemsOf({ username, password }: SetupForm): Problems {
  const problems: Problems = {};
  const check = (name: "username" | "password", judge: () => void): void => {
    try {
      judge();
    } catch (error) {
      if (!(error instanceof PicError)) throw error;
      problems[name] = sentence(error.details.errors?.[0]?.message ?? error.message);
    }
  };
  check("username", () => checkUsername(username));
  check("password", () => checkPassword(password));
  return problems;
}

/** As this browser can reach it. */
function apiUrl(request: Request, { publicBaseUrl }: PagesOptions): string {
  return `${publicBaseUrl ?? `http://${request.headers.get("host") ?? "localhost"}`}/api/v1/admin`;
}

function homePage(api: string, username: string | null): string {
  const login = `curl -H 'content-type: application/json' \\
  -d '{"username":"${username ?? "you"}","password":"…"}' \\
  ${api}/auth/login`;
  const greeting =
    username === null
      ? "<p>You are not logged in. Is there no account yet? Open the setup link that PiCloud printed " +
        "when it started; it prints a new one at every start.</p>"
      : `<p class="good">You are logged in as <strong>${escapeHtml(username)}</strong>.</p>`;
  return page(
    "PiCloud is running",
    `${greeting}<p>Scripts are made over the API. Log in for a token, which all other calls take as ` +
      `<code>Authorization: Bearer</code>:</p><pre>${escapeHtml(login)}</pre>` +
      '<p><a href="/admin/api/">All calls, with examples and a form for each</a></p>' +
      "<p>A forgotten password is replaced on the machine itself, while the server is stopped: " +
      "<code>picloud admin reset-password</code>.</p>",
  );
}

function linkRefused(): string {
  return page(
    "This setup link does not work",
    "<p>It is used, has expired, or belongs to an earlier start. While there is no account, " +
      'PiCloud prints a new link at every start.</p><p><a href="/admin/">To the start page</a></p>',
  );
}

function setupForm(form: SetupForm, problems: Problems): string {
  const alert =
    problems.form === undefined ? "" : `<p role="alert">${escapeHtml(sentence(problems.form))}</p>`;
  return page(
    "Make the first account",
    "<p>It may do everything on this PiCloud: write scripts, route them, and read what they did.</p>" +
      `${alert}<form method="post" action="/admin/setup">` +
      `<input type="hidden" name="token" value="${escapeHtml(form.token)}">` +
      field({
        name: "username",
        label: "Username",
        hint: "Letters from a to z, digits, dot, dash and underscore.",
        problem: problems.username,
        attributes:
          'autocomplete="username" autocapitalize="none" spellcheck="false" ' +
          `maxlength="${usernameCharsMax}" value="${escapeHtml(form.username)}"`,
      }) +
      field({
        name: "password",
        label: "Password",
        hint: `At least ${passwordCharsMin} characters; anything else is up to you.`,
        problem: problems.password,
        attributes:
          'type="password" autocomplete="new-password" ' +
          `minlength="${passwordCharsMin}" maxlength="${passwordCharsMax}"`,
      }) +
      "<button>Make the account</button></form>",
  );
}

interface Field {
  name: string;
  label: string;
  hint: string;
  problem: string | undefined;
  /** As HTML. */
  attributes: string;
}

function field({ name, label, hint, problem, attributes }: Field): string {
  const isWrong = problem !== undefined;
  const note = isWrong
    ? `<p class="note" id="${name}-note" role="alert">${escapeHtml(problem)}</p>`
    : `<p class="note" id="${name}-note">${hint}</p>`;
  const state = isWrong ? 'aria-invalid="true" autofocus' : "";
  return (
    `<label for="${name}">${label}</label><input id="${name}" name="${name}" required ${attributes} ` +
    `aria-describedby="${name}-note" ${state}>${note}`
  );
}

function page(title: string, body: string): string {
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">' +
    '<meta name="viewport" content="width=device-width,initial-scale=1">' +
    `<title>${title} · PiCloud</title><link rel="icon" href="${icon}"><style>${style}</style></head>` +
    `<body><main><p class="brand"><img src="${icon}" alt="" width="24" height="24">PiCloud</p>` +
    `<h1>${title}</h1>${body}</main></body></html>\n`
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

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function notFound(): PicError {
  return new PicError("not_found", "There is no such page");
}
