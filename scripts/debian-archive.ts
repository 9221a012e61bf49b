/**
 * Packages of one Debian release, of any architecture, downloaded and unpacked into a folder and never
 * installed. apt does it, with lists and a package state of its own: the machine's apt stays as it
 * is, and need not be of the same release. What was downloaded once is used again; delete the folder
 * for newer packages.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { run } from "./install.ts";

/** The release whose kernels come with 4 KiB and with 16 KiB pages. */
export const debianRelease = "trixie";

const keyrings = [
  "/usr/share/keyrings/debian-archive-keyring.gpg",
  "/usr/share/keyrings/debian-archive-keyring.pgp",
];
/** Where the machine's own apt does not name a mirror of Debian. */
const mirrorDefault = "http://deb.debian.org/debian";

export interface ArchiveOptions {
  /** Holds the lists and the downloads; made when absent. */
  folder: string;
  /** Debian's name: amd64, arm64. */
  architecture: string;
}

export class DebianArchive {
  readonly #config: string;

  private constructor(private readonly options: ArchiveOptions) {
    this.#config = `${options.folder}/apt.conf`;
  }

  /** Throws an error that says what this machine lacks. */
  static open(options: ArchiveOptions): DebianArchive {
    for (const program of ["apt-get", "apt-cache", "dpkg-deb", "tar"]) {
      if (Bun.which(program) === null) throw new Error(`there is no ${program} on this machine`);
    }
    const archive = new DebianArchive(options);
    archive.#configure();
    return archive;
  }

  /** The paths of the packages' files. With dependencies: all that an empty system would need. */
  async fetch(names: readonly string[], needs: { dependencies: boolean }): Promise<string[]> {
    const record = `${this.options.folder}/${names[0]}${needs.dependencies ? "-all" : ""}.fetched`;
    const known = existsSync(record) ? readFileSync(record, "utf8").split("\n") : [];
    const [asked, ...kept] = known;
    if (asked === names.join(" ") && kept.every((path) => existsSync(path))) return kept;
    await this.#update();
    const folder = `${this.options.folder}/archives`;
    const say = `Debian ${debianRelease} ${this.options.architecture}: ${names.join(", ")}`;
    console.error(
      `Downloading ${say}${needs.dependencies ? " and what they need" : ""} → ${folder}`,
    );
    const install = ["install", "--yes", "--no-install-recommends"];
    const ask = [...(needs.dependencies ? install : ["download"]), ...names];
    const found = (await this.#files(ask)).map((file) => `${folder}/${file}`);
    await this.#apt(needs.dependencies ? ["--download-only", ...ask] : ask, folder);
    writeFileSync(record, [names.join(" "), ...found].join("\n"));
    return found;
  }

  /** What a package that only names another one depends on: `linux-image-arm64` → today's kernel. */
  async nameBehind(metaPackage: string): Promise<string> {
    const record = `${this.options.folder}/${metaPackage}.behind`;
    if (existsSync(record)) return readFileSync(record, "utf8");
    await this.#update();
    const shown = await this.#ask(["apt-cache", "show", "--no-all-versions", metaPackage]);
    const name = shown.match(/^Depends: ([^\s,]+)/m)?.[1];
    if (name === undefined) throw new Error(`${metaPackage} of Debian depends on nothing`);
    writeFileSync(record, name);
    return name;
  }

  #configure(): void {
    const { folder, architecture } = this.options;
    for (const made of ["lists/partial", "archives/partial"]) {
      mkdirSync(`${folder}/${made}`, { recursive: true });
    }
    const keyring = keyrings.find((path) => existsSync(path));
    if (keyring === undefined) throw new Error("the package debian-archive-keyring is missing");
    const mirrors = machineMirrors();
    const main = mirrors.find((uri) => uri.endsWith("/debian")) ?? mirrorDefault;
    const security =
      mirrors.find((uri) => uri.endsWith("/debian-security")) ?? `${mirrorDefault}-security`;
    const source = `deb [signed-by=${keyring} arch=${architecture}]`;
    writeFileSync(
      `${folder}/sources.list`,
      `${source} ${main} ${debianRelease} main\n${source} ${security} ${debianRelease}-security main\n`,
    );
    writeFileSync(`${folder}/status`, "");
    writeFileSync(this.#config, aptConfig(folder, architecture));
  }

  /** Once a process: the next fetch of this run sees the same lists. */
  async #update(): Promise<void> {
    if (updated.has(this.options.folder)) return;
    await this.#apt(["update"], this.options.folder);
    updated.add(this.options.folder);
  }

  /** The names of the files that a command would download, were nothing there yet. */
  async #files(args: readonly string[]): Promise<string[]> {
    const empty = ["--option", "Dir::Cache::archives=/nonexistent/"];
    const printed = await this.#ask(["apt-get", "--print-uris", ...empty, ...args]);
    return [...printed.matchAll(/^'[^']*' (\S+\.deb) /gm)].map(([, file = ""]) => file);
  }

  async #apt(args: string[], cwd: string): Promise<void> {
    await run(["env", `APT_CONFIG=${this.#config}`, "LC_ALL=C", "apt-get", ...args], cwd);
  }

  async #ask(command: string[]): Promise<string> {
    const env = { ...process.env, APT_CONFIG: this.#config, LC_ALL: "C" };
    const child = Bun.spawn(command, { env, stdio: ["ignore", "pipe", "pipe"] });
    const [printed, complained, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    if (code !== 0) throw new Error(`${command.join(" ")} failed with ${code}\n${complained}`);
    return printed;
  }
}

const updated = new Set<string>();

/** Unpacks packages over each other; with patterns (tar's wildcards) only what they match. */
export async function unpackPackages(
  packages: readonly string[],
  folder: string,
  patterns: readonly string[] = [],
): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const file of packages) {
    const chosen = patterns.length === 0 ? [] : ["--wildcards", ...patterns];
    // Ownership is not kept: nobody but root could, and nothing here depends on it.
    const unpack = ["tar", "-x", "--no-same-owner", "-C", folder, ...chosen];
    const script = 'set -e; file=$1; shift; dpkg-deb --fsys-tarfile "$file" | "$@"';
    await run(["sh", "-c", script, "unpack", file, ...unpack], folder);
  }
}

/** Debian's name of the machine we run on. */
export function machineArchitecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}

/** Everything of apt's that could touch the machine is turned to the folder, or off. */
function aptConfig(folder: string, architecture: string): string {
  const settings = {
    "Dir::State": folder,
    "Dir::State::lists": `${folder}/lists`,
    "Dir::State::status": `${folder}/status`,
    "Dir::Cache": folder,
    "Dir::Cache::archives": `${folder}/archives/`,
    "Dir::Log": folder,
    "Dir::Etc::sourcelist": `${folder}/sources.list`,
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::Etc::main": "/dev/null",
    "Dir::Etc::parts": "/dev/null",
    "Dir::Etc::preferences": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "APT::Architecture": architecture,
    "APT::Architectures": architecture,
    "APT::Sandbox::User": "root",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";`);
  return `${[...lines, ...machineProxies()].join("\n")}\n`;
}

/** How this machine reaches the network is the one thing to take over. */
function machineProxies(): string[] {
  const printed = Bun.spawnSync(["apt-config", "dump", "Acquire"], { stderr: "ignore" });
  return printed.stdout
    .toString()
    .split("\n")
    .filter((line) => /^Acquire::https?::(Proxy|Verify|CaInfo)\b/i.test(line));
}

function machineMirrors(): string[] {
  const asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)"];
  const printed = Bun.spawnSync(asked, { stderr: "ignore" }).stdout.toString();
  return printed.split("\n").map((uri) => uri.replace(/\/+$/, ""));
}
