/** The dashboard's address, and a browser that shows it when there is one. */
import type { Command } from "commander";
import type { PicContext } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure } from "../failures.ts";

/** Platform → what opens an address there. */
const OPENERS: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  darwin: ["open"],
  // `start` is a part of the command interpreter; its first argument is a title when it is quoted.
  win32: ["cmd", "/c", "start", ""],
};

export function registerOpen(program: Command, pic: PicContext): void {
  program
    .command("open")
    .summary("print the dashboard's address, and open it in a browser")
    .option("--print", "only print it")
    .action(({ print = false }: { print?: boolean }) => {
      const url = pic.url();
      if (url === null) {
        throw new PicFailure("No server is known", {
          exit: EXIT.notSignedIn,
          next: "pic login --url http://<host>:8080, or name it with --url",
        });
      }
      const address = `${url}/admin/`;
      pic.output.text(`${address}\n`);
      if (!print) openBrowser(pic, address);
    });
}

/** Whoever has no browser, over ssh for one, has the address. */
function openBrowser({ around }: PicContext, address: string): void {
  const opener = OPENERS[around.platform] ?? ["xdg-open"];
  const hasScreen =
    around.platform === "darwin" ||
    around.platform === "win32" ||
    [around.env.DISPLAY, around.env.WAYLAND_DISPLAY].some(
      (name) => name !== undefined && name !== "",
    );
  if (!hasScreen) return;
  try {
    around.launch([...opener, address]);
  } catch {}
}
