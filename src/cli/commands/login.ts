/**
 * Signing in and out. A login with a password opens a session only to make an API key, which it stores:
 * the key names this machine, so that it can be told from others and revoked alone, and it does not
 * slide on for ever as a session does. A token that is given is stored as it is.
 */
import type { Command } from "commander";
import { PicClientError } from "../../client.ts";
import { SCOPES } from "../../domain/access.ts";
import { tokenVariable } from "../../domain/credentials.ts";
import { loginKeyDays, nameCharsMax } from "../../domain/limits.ts";
import { isReadOnTheWay } from "../clear-text.ts";
import { checkedToken, serverUrl } from "../connection.ts";
import type { GlobalOptions, PicContext } from "../context.ts";
import {
  type Credential,
  deleteCredential,
  readCredentials,
  storeCredential,
} from "../credentials-file.ts";
import { variable } from "../environment.ts";
import { EXIT } from "../exit-codes.ts";
import { notPiCloud, PicFailure } from "../failures.ts";
import { printable } from "../printable.ts";
import { readStdinLine } from "../prompts.ts";

interface LoginOptions extends GlobalOptions {
  token?: string;
  username?: string;
  passwordStdin?: boolean;
}

type Client = ReturnType<PicContext["client"]>;

const dayMs = 86_400_000;
const urlExample = "http://pi:8080";

export function registerLogin(program: Command, pic: PicContext): void {
  program
    .command("login")
    .summary("sign in to a server, with a password or a token")
    .description(
      [
        "Signs in to a server, which is then the one that commands are meant for.",
        "",
        `With a password: makes an API key for this machine that expires in ${loginKeyDays} days, and stores it.`,
        "With --token: checks the token and stores it.",
        "",
        "  pic login --url http://pi:8080",
      ].join("\n"),
    )
    .option(
      "--token <token>",
      "an API key; - reads it from standard input, where no other user sees it",
    )
    .option("--username <name>", "who signs in")
    .option("--password-stdin", "read the password from standard input")
    .action(async (_: unknown, command: Command) => login(pic, command.optsWithGlobals()));
}

export function registerLogout(program: Command, pic: PicContext): void {
  program
    .command("logout")
    .summary("revoke the key of `pic login`, and forget it")
    .option("--local", "forget it without telling the server")
    .action(async ({ local = false }: { local?: boolean }) => logout(pic, local));
}

async function login(pic: PicContext, options: LoginOptions): Promise<void> {
  const url = await askUrl(pic, options);
  const { token } = options;
  if (isReadOnTheWay(url)) {
    pic.output.warn(
      `${url} is not encrypted: password and key can be read on the way there; https or a VPN keeps them`,
    );
  }
  const credential =
    token === undefined
      ? await passwordLogin(pic, url, options)
      : await tokenLogin(
          pic,
          url,
          checkedToken(
            token === "-" ? await readStdinLine(pic.around, "--token -") : token,
            "--token",
          ),
        );
  const until = credential.expires_at === null ? "" : `, until ${credential.expires_at}`;
  pic.output.note(`Signed in to ${url} as ${credential.username}${until}.`);
  if (variable(pic.around.env, tokenVariable) !== null) {
    pic.output.warn(`${tokenVariable} is set, and is used instead of what is stored`);
  }
}

async function askUrl(pic: PicContext, { url }: LoginOptions): Promise<string> {
  if (url !== undefined) return serverUrl(url, "--url");
  if (!pic.isInteractive) {
    const known = pic.url();
    if (known !== null) return known;
  }
  const initial = pic.url() ?? urlExample;
  const answer = await pic.prompts.text({
    message: "Address of the server",
    flag: "--url <address>",
    initial,
    refuse: (text) =>
      URL.canParse(text) || URL.canParse(`http://${text}`) ? null : `like ${urlExample}`,
  });
  return serverUrl(answer, "the address");
}

async function tokenLogin(pic: PicContext, url: string, token: string): Promise<Credential> {
  const me = await pic.clientOf(url, token).auth.me();
  if (typeof me?.username !== "string") throw notPiCloud(url, "answered without an account");
  const credential = {
    token,
    username: me.username,
    key_id: null,
    expires_at: me.key?.expires_at ?? null,
  };
  storeCredential(pic.around, url, credential);
  return credential;
}

async function passwordLogin(
  pic: PicContext,
  url: string,
  { username, passwordStdin = false }: LoginOptions,
): Promise<Credential> {
  // What is wrong with the file is said before anybody types a password.
  const before = readCredentials(pic.around).servers[url];
  const required = (text: string): string | null => (text === "" ? "this is needed" : null);
  const name =
    username ??
    (await pic.prompts.text({
      message: "User name",
      flag: "--username <name>",
      ...(before === undefined ? {} : { initial: before.username }),
      refuse: required,
    }));
  const password = passwordStdin
    ? await readStdinLine(pic.around, "--password-stdin")
    : await pic.prompts.password({
        message: "Password",
        flag: "--password-stdin, or --token <token>",
        refuse: required,
      });
  const client = pic.clientOf(url);
  const session = await client.auth.login({ username: name, password });
  if (typeof session?.token !== "string") throw notPiCloud(url, "answered without a session");
  try {
    const expires_at = new Date(
      (await serverTime(client, pic)) + loginKeyDays * dayMs,
    ).toISOString();
    const made = await client.apiKeys.create({
      name: keyName(pic),
      scopes: [...SCOPES],
      expires_at,
    });
    const credential = {
      token: made.raw_token,
      username: session.account.username,
      key_id: made.id,
      expires_at: made.expires_at,
    };
    try {
      storeCredential(pic.around, url, credential);
    } catch (error) {
      await revokeQuietly(client, made.id);
      throw error;
    }
    // The key that this one takes the place of: nobody would ever use or revoke it.
    if (typeof before?.key_id === "string") await revokeQuietly(client, before.key_id);
    return credential;
  } finally {
    await client.auth.logout().catch(() => {
      pic.output.warn("the session of this login could not be ended; it ends by itself");
    });
  }
}

/** The server judges the time by its own clock, and a Pi's may be far off. */
async function serverTime(client: Client, pic: PicContext): Promise<number> {
  const { items } = await client.auth.sessions();
  const opened = Date.parse(items.find(({ current }) => current)?.created_at ?? "");
  return Number.isNaN(opened) ? pic.around.now() : opened;
}

async function logout(pic: PicContext, isLocal: boolean): Promise<void> {
  const url = pic.url();
  const stored = url === null ? undefined : readCredentials(pic.around).servers[url];
  if (url === null || stored === undefined) {
    pic.output.note(url === null ? "You are not signed in." : `You are not signed in to ${url}.`);
    return;
  }
  const isOurs = stored.key_id !== null;
  if (isOurs && !isLocal) await revokeOwn(pic, url, stored.token);
  deleteCredential(pic.around, url);
  pic.output.note(
    isOurs && !isLocal
      ? `Signed out of ${url}: the key is revoked and forgotten.`
      : `Signed out of ${url}. The ${isOurs ? "key" : "token was given to pic: it"} is forgotten here, and still good there.`,
  );
  if (variable(pic.around.env, tokenVariable) !== null) {
    pic.output.warn(`${tokenVariable} is set, and goes on being used`);
  }
}

/** A key that is gone already is as good. */
async function revokeOwn(pic: PicContext, url: string, token: string): Promise<void> {
  try {
    await pic.clientOf(url, token).auth.logout();
  } catch (error) {
    if (error instanceof PicClientError && error.status === 401) return;
    if (!(error instanceof PicFailure) || error.options.exit !== EXIT.unreachable) throw error;
    throw new PicFailure(`${error.message}: the key was not revoked`, {
      ...error.options,
      next: "try again when the server answers, or forget the key here alone: pic logout --local",
    });
  }
}

async function revokeQuietly(client: Client, id: string): Promise<void> {
  await client.apiKeys.delete(id).catch(() => {});
}

function keyName(pic: PicContext): string {
  return printable(`pic on ${pic.around.hostname}`).slice(0, nameCharsMax).trim();
}
