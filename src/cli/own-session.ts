/**
 * A session for what an API key may not do. pic keeps none: it opens one with the password, and ends it
 * with the command.
 */
import type { PicClient } from "../client.ts";
import type { PicContext } from "./context.ts";
import { printable } from "./printable.ts";
import { readStdinLine } from "./prompts.ts";

export const passwordFlag = "--password-stdin";

export interface PasswordOptions {
  passwordStdin?: boolean;
}

/** Typed, or the first line of standard input. Throws PicFailure when nobody may be asked. */
export function ownPassword(
  pic: PicContext,
  username: string,
  { passwordStdin = false }: PasswordOptions,
): Promise<string> {
  if (passwordStdin) return readStdinLine(pic.around, passwordFlag);
  return pic.prompts.password({
    message: `Password of ${printable(username)}`,
    flag: passwordFlag,
    refuse: (text) => (text === "" ? "this is needed" : null),
  });
}

/** Throws what the login and the work throw; the session ends in any case. */
export async function withSession<T>(
  pic: PicContext,
  credentials: { username: string; password: string },
  work: (client: PicClient) => Promise<T>,
): Promise<T> {
  const client = pic.clientOf(pic.server().url);
  await client.auth.login(credentials);
  try {
    return await work(client);
  } finally {
    await client.auth.logout().catch(() => {
      pic.output.warn("the session of this command could not be ended; it ends by itself");
    });
  }
}
