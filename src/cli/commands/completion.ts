/** The completion scripts of shells. */
import type { Command } from "commander";
import { choice } from "../choice.ts";
import { completionScript, SHELLS, type Shell } from "../completion.ts";
import type { PicContext } from "../context.ts";

export function registerCompletion(program: Command, pic: PicContext): void {
  program
    .command("completion")
    .summary("print what a shell needs to complete the commands of pic")
    .description(
      [
        "Prints a completion script:",
        "",
        "  bash   source <(pic completion bash)       in ~/.bashrc",
        "  zsh    source <(pic completion zsh)        in ~/.zshrc, after compinit",
        "  fish   pic completion fish > ~/.config/fish/completions/pic.fish",
      ].join("\n"),
    )
    .addArgument(choice("<shell>", "yours", SHELLS))
    .action((shell: Shell) => pic.output.text(completionScript(shell, program)));
}
