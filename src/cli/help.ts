/** The help texts of the roles of the one executable. */
import { type SettingRow, settingRows } from "../settings.ts";

interface RoleHelp {
  readonly usage: string;
  readonly summary: string;
  /** Lines after the summary. */
  readonly detail?: readonly string[];
  /** Show the settings, whose flags this role takes. */
  readonly settings?: boolean;
}

const ROLES = {
  serve: {
    usage: "picloud serve [flags]",
    summary: "Runs the server until SIGTERM or SIGINT; a second signal ends it at once.",
    settings: true,
  },
  "admin reset-password": {
    usage: "picloud admin reset-password <username> [--generate] [flags]",
    summary: "Sets an account's password and ends its sessions.",
    detail: [
      "On a terminal it asks twice; otherwise it reads one line from standard input.",
      "",
      "  --generate   make a password and print it",
    ],
    settings: true,
  },
  "admin set-role": {
    usage: "picloud admin set-role <username> <role> [flags]",
    summary: "Gives an account another role: owner, admin or member.",
    detail: ["The last active owner stays one."],
    settings: true,
  },
  "admin list": {
    usage: "picloud admin list [flags]",
    summary: "Prints each account with its role, and whether it may log in.",
    settings: true,
  },
  backup: {
    usage: "picloud backup <file> [--force] [flags]",
    summary: "Writes a backup of everything needed to restore, also while the server runs.",
    detail: [
      "The file - means standard output: ssh pi picloud backup - > picloud.backup",
      "",
      "  --force   replace the file when it exists",
      "",
      "Inside: accounts with the hashes of their passwords and API keys, apps with members and hosts,",
      "scripts with all versions, routes, settings, the audit trail and the data of scripts.",
      "Not inside: logins, execution records and this configuration.",
      "Whoever has the file has all of that: it is made for its owner's eyes (mode 0600).",
    ],
    settings: true,
  },
  restore: {
    usage: "picloud restore <file> [--check] [flags]",
    summary: "Makes a new database of a backup, in an empty data folder; or says why it cannot.",
    detail: [
      "The file - means standard input. Nothing is put in place before all of it is verified.",
      "",
      "  --check   read the backup to its end, and restore nothing",
      "",
      "A backup of an older PiCloud is brought to this one's schema; a newer one's is refused.",
    ],
    settings: true,
  },
  types: {
    usage: "picloud types",
    summary: 'Prints picloud.d.ts, the types of the module "picloud" that scripts import.',
  },
  pic: {
    usage: "picloud pic <command> [options]",
    summary: "The command line of developers, as the program pic; `picloud pic --help` says more.",
  },
  version: { usage: "picloud version", summary: "Prints the version." },
  sandbox: {
    usage: "picloud sandbox",
    summary: "Internal: runs scripts for a server that started it.",
  },
  compile: {
    usage: "picloud compile",
    summary: "Internal: compiles one script for a server that started it.",
  },
} as const satisfies Record<string, RoleHelp>;

export type RoleName = keyof typeof ROLES | "admin";

const EXIT_CODES = [
  "Exit codes: 0 done; 1 failed, the message says why; 2 wrong command line or configuration;",
  "            128 + n ended at once by the second signal n.",
].join("\n");

/** Roles a person would name, for the overview and for suggestions. */
export const shownRoles: readonly string[] = [
  "serve",
  "admin",
  "backup",
  "restore",
  "types",
  "pic",
  "version",
  "help",
];

/** What `picloud --help` prints. */
export function overviewHelp(): string {
  const rows = Object.values<RoleHelp>(ROLES)
    .filter((role) => !role.summary.startsWith("Internal"))
    .map((role) => `  ${role.usage}\n      ${role.summary}`);
  return [
    "PiCloud: your own functions platform in one executable.",
    "",
    ...rows,
    "",
    "`picloud <command> --help` says more.",
    EXIT_CODES,
    "",
  ].join("\n");
}

/** What `picloud <role> --help` prints. */
export function roleHelp(name: RoleName): string {
  if (name === "admin") return adminHelp();
  const role: RoleHelp = ROLES[name];
  const settings = role.settings
    ? [
        "",
        "Settings, as a flag, a variable, or a line of the file that --config names. Every variable",
        "may also be given as <NAME>_FILE, the path of a file that holds the value.",
        "",
        ...settingRows().flatMap(settingLines),
      ]
    : [];
  const lines = [`Usage: ${role.usage}`, "", role.summary, ...(role.detail ?? []), ...settings];
  return [...lines, "", EXIT_CODES, ""].join("\n");
}

/** What `picloud admin --help` prints. */
function adminHelp(): string {
  const rows = Object.values<RoleHelp>(ROLES)
    .filter((role) => role.usage.startsWith("picloud admin "))
    .map((role) => `  ${role.usage}\n      ${role.summary}`);
  return [
    "Usage: picloud admin <command> [flags]",
    "",
    "Accounts, for whoever owns the machine. On SQLite the server must be stopped.",
    "",
    ...rows,
    "",
    "`picloud admin <command> --help` says more.",
    EXIT_CODES,
    "",
  ].join("\n");
}

function settingLines(row: SettingRow): string[] {
  const plain = (text: string): string => text.replaceAll("`", "");
  const flag = row.flag ?? "(no flag: secret)";
  return [
    `  ${flag.padEnd(24)} ${row.name}  (${plain(row.values)}; default ${plain(row.initial)})`,
    `      ${plain(row.description)}.`,
  ];
}
