/**
 * What a shell completes: subcommands, options, and arguments that are one of a few words, all read off
 * the tree of commands. The scripts ask nobody, so that the Tab key never waits for a server.
 */
import type { Command } from "commander";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** A place in the tree: `pic apps members`. */
interface Place {
  path: string;
  words: string[];
}

interface Words {
  places: Place[];
  /** `pic apps ls --output` → what the option takes. */
  values: Place[];
  /** Options whose next word is a value, wherever they are. */
  takers: string[];
}

/** The text for a shell's completion. @param program the whole tree */
export function completionScript(shell: Shell, program: Command): string {
  const words = gather(program);
  if (shell === "bash") return bash(words);
  return shell === "zsh" ? zsh(words) : fish(words);
}

function gather(program: Command): Words {
  const found: Words = { places: [], values: [], takers: [] };
  const takers = new Set<string>();
  const visit = (command: Command, path: string): void => {
    const help = command.createHelp();
    const subcommands = help.visibleCommands(command).filter((one) => one.name() !== "help");
    const everywhere = help.visibleOptions(program).filter(({ long }) => long !== "--version");
    const options = new Set([...help.visibleOptions(command), ...everywhere]);
    const flags: string[] = [];
    for (const { long, short, required, optional, argChoices } of options) {
      if (long) flags.push(long);
      for (const name of [long, short]) {
        if (!name || !(required || optional)) continue;
        takers.add(name);
        if (argChoices !== undefined) {
          found.values.push({ path: `${path} ${name}`, words: argChoices.filter(isPlain) });
        }
      }
    }
    const choices = command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices);
    const names = subcommands.map((one) => one.name());
    found.places.push({ path, words: [...names, ...choices, ...flags].filter(isPlain) });
    for (const one of subcommands) visit(one, `${path} ${one.name()}`);
  };
  visit(program, "pic");
  return { ...found, takers: [...takers].sort() };
}

/** What needs no quotes in any shell. */
function isPlain(word: string): boolean {
  return /^[\w:.-]+$/.test(word);
}

function bash({ places, values, takers }: Words): string {
  const all = ({ path, words }: Place): string => `    '${path}') list='${words.join(" ")}' ;;`;
  return `# bash completion of pic: source <(pic completion bash)
_pic() {
  local cur=\${COMP_WORDS[COMP_CWORD]} at=pic before='' list='' word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case "$before" in ${takers.join("|")}) before=''; continue ;; esac
    case "$at $word" in
      ${steps(places)}) at="$at $word" ;;
    esac
    before=$word
  done
  case "$before" in ${takers.join("|")}) at="$at $before" ;; esac
  case "$at" in
${[...places, ...values].map(all).join("\n")}
  esac
  COMPREPLY=($(compgen -W "$list" -- "$cur"))
}
complete -o default -F _pic pic
`;
}

function zsh({ places, values, takers }: Words): string {
  const all = ({ path, words }: Place): string => `    ('${path}') list='${words.join(" ")}' ;;`;
  return `#compdef pic
# zsh completion of pic: source <(pic completion zsh), or a file _pic in a folder of $fpath
_pic() {
  local at=pic before='' list='' word i
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    case "$before" in (${takers.join("|")}) before=''; continue ;; esac
    case "$at $word" in
      (${steps(places)}) at="$at $word" ;;
    esac
    before=$word
  done
  case "$before" in (${takers.join("|")}) at="$at $before" ;; esac
  case "$at" in
${[...places, ...values].map(all).join("\n")}
  esac
  [[ -n $list ]] && compadd -- \${=list} || _files
}
if [[ $funcstack[1] == _pic ]]; then _pic "$@"; else compdef _pic pic; fi
`;
}

function fish({ places, values, takers }: Words): string {
  const all = ({ path, words }: Place): string =>
    `    case '${path}'\n      printf '%s\\n' ${words.join(" ")}`;
  const paths = places.slice(1).map(({ path }) => `'${path}'`);
  return `# fish completion of pic: pic completion fish > ~/.config/fish/completions/pic.fish
function __pic_words
  set -l tokens (commandline -opc)
  set -e tokens[1]
  set -l at pic
  set -l before ''
  for word in $tokens
    if contains -- "$before" ${takers.join(" ")}
      set before ''
      continue
    end
    if contains -- "$at $word" ${paths.join(" ")}
      set at "$at $word"
    end
    set before $word
  end
  if contains -- "$before" ${takers.join(" ")}
    set at "$at $before"
  end
  switch "$at"
${[...places, ...values].map(all).join("\n")}
  end
end
complete -c pic -a '(__pic_words)'
`;
}

/** The paths below the root, as a pattern. */
function steps(places: readonly Place[]): string {
  return places
    .slice(1)
    .map(({ path }) => `'${path}'`)
    .join("|");
}
