/** Where one is signed in with a password: browsers, for the most part. pic itself has a key, and no session. */
import type { Command } from "commander";
import type { PicClient } from "../../client.ts";
import type { WireSession } from "../../schema/accounts.ts";
import type { PicContext } from "../context.ts";
import type { Column } from "../output.ts";
import { ownPassword, type PasswordOptions, passwordFlag, withSession } from "../own-session.ts";
import { allItems } from "../pages.ts";

const columns: readonly Column<WireSession>[] = [
  { title: "ID", value: ({ id }) => id },
  { title: "CREATED", value: ({ created_at }) => created_at },
  { title: "LAST SEEN", value: ({ last_seen_at }) => last_seen_at },
  { title: "EXPIRES", value: ({ expires_at }) => expires_at },
  { title: "ADDRESS", value: ({ address }) => address },
  { title: "PROGRAM", value: ({ user_agent }) => user_agent },
];

const why =
  "A key may not do this: the command asks for your password, opens a session, and ends it.";

export function registerSessions(program: Command, pic: PicContext): void {
  const sessions = program.command("sessions").summary("where you are signed in with a password");
  asked(sessions.command("ls"), "list your sessions, in browsers for the most part").action(
    async (options: PasswordOptions) => {
      const items = await inSession(pic, options, (client) =>
        allItems(pic, (page) => client.auth.sessions(page)),
      );
      pic.output.list(
        items.filter(({ current }) => !current),
        columns,
      );
    },
  );
  asked(sessions.command("end"), "end one of your sessions at once")
    .argument("<session>", "its id, which `pic sessions ls` shows")
    .action(async (session: string, options: PasswordOptions) => {
      await inSession(pic, options, (client) => client.auth.endSession(session));
      pic.output.note(`Ended the session ${session}.`);
    });
  asked(sessions.command("end-others"), "end your sessions everywhere, at once; keys stay").action(
    async (options: PasswordOptions) => {
      const { count } = await inSession(pic, options, (client) => client.auth.endOtherSessions());
      pic.output.note(`Ended ${count} ${count === 1 ? "session" : "sessions"}.`);
    },
  );
}

function asked(command: Command, summary: string): Command {
  return command
    .summary(summary)
    .description(`${summary.replace(/^./, (first) => first.toUpperCase())}.\n\n${why}`)
    .option(passwordFlag, "read your password from standard input");
}

/** Whoever has a session already, in PICLOUD_TOKEN, needs no other. */
async function inSession<T>(
  pic: PicContext,
  options: PasswordOptions,
  work: (client: PicClient) => Promise<T>,
): Promise<T> {
  const client = pic.client();
  const { key, username } = await client.auth.me();
  if (key === null) return work(client);
  return withSession(pic, { username, password: await ownPassword(pic, username, options) }, work);
}
