/** The servers that this user is signed in to. */
import type { Command } from "commander";
import { serverUrl } from "../connection.ts";
import type { PicContext } from "../context.ts";
import { credentialsPath, makeCurrent, readCredentials } from "../credentials-file.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure } from "../failures.ts";
import type { Column } from "../output.ts";

interface SignedIn {
  url: string;
  username: string;
  current: boolean;
  /** Made by `pic login`. */
  own_key: boolean;
  expires_at: string | null;
}

const columns: readonly Column<SignedIn>[] = [
  { title: "URL", value: ({ url }) => url },
  { title: "USERNAME", value: ({ username }) => username },
  { title: "CURRENT", value: ({ current }) => current },
  { title: "EXPIRES", value: ({ expires_at }) => expires_at },
];

export function registerServers(program: Command, pic: PicContext): void {
  const servers = program.command("servers").summary("the servers you are signed in to");
  servers
    .command("ls")
    .summary("list the servers you are signed in to")
    .action(() => {
      const { current, servers: stored } = readCredentials(pic.around);
      const rows = Object.entries(stored).map(([url, { username, key_id, expires_at }]) => ({
        url,
        username,
        current: url === current,
        own_key: key_id !== null,
        expires_at,
      }));
      pic.output.list(rows, columns);
    });
  servers
    .command("use")
    .summary("choose the server that commands are meant for")
    .argument("<address>", "one that `pic servers ls` shows")
    .action((address: string) => {
      const url = serverUrl(address, "address");
      if (readCredentials(pic.around).servers[url] === undefined) {
        throw new PicFailure(`You are not signed in to ${url}`, {
          exit: EXIT.notSignedIn,
          next: `pic login --url ${url}`,
        });
      }
      makeCurrent(pic.around, url);
      pic.output.note(`Commands are meant for ${url} now (${credentialsPath(pic.around)}).`);
    });
}
