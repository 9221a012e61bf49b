/**
 * Gets a PostgreSQL server for the tests, which start one by themselves (test/postgres.ts). What is
 * installed is used; else Debian's package is, without the database that it would make and start at
 * once; who may not install gets it unpacked into .cache/debian.
 */
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { administratorPrefix, root, unpack, unpacked, withFreshLists } from "./debian.ts";
import { run } from "./install.ts";

/** The folder of the programs, and of libraries that only they use; or why there are none. */
export type ProvidedPostgres = { bin: string; libraries: string | null } | { missing: string };

/** Debian's name for the newest version it has. */
const packageName = "postgresql";
/** Read when the package is installed: it makes no database of its own then. */
const clusterConfig = "/etc/postgresql-common/createcluster.conf";

export async function providePostgres(): Promise<ProvidedPostgres> {
  const problem = find() === null ? await install() : null;
  return find() ?? { missing: problem ?? `package ${packageName} has no program initdb` };
}

/** What the tests are told of it. */
export function postgresEnvironment(provided: ProvidedPostgres): Record<string, string> {
  if ("missing" in provided) return {};
  const { bin, libraries } = provided;
  return {
    PICLOUD_TEST_POSTGRES_BIN: bin,
    ...(libraries === null ? {} : { PICLOUD_TEST_POSTGRES_LIB: libraries }),
  };
}

function find(): { bin: string; libraries: string | null } | null {
  const inPath = Bun.which("initdb");
  const candidates = [
    ...binaries("/usr/lib/postgresql"),
    ...(inPath === null ? [] : [dirname(realpathSync(inPath))]),
  ];
  const isWhole = (bin: string): boolean =>
    ["initdb", "postgres"].every((program) => existsSync(`${bin}/${program}`));
  const installed = candidates.find(isWhole);
  if (installed !== undefined) return { bin: installed, libraries: null };
  const local = binaries(`${unpacked}/usr/lib/postgresql`).find(isWhole);
  if (local === undefined) return null;
  const [triplet] = [
    ...new Bun.Glob("*-linux-gnu*").scanSync({ cwd: `${unpacked}/usr/lib`, onlyFiles: false }),
  ];
  return { bin: local, libraries: triplet === undefined ? null : `${unpacked}/usr/lib/${triplet}` };
}

/** Of every version in Debian's layout, the newest first. */
function binaries(folder: string): string[] {
  const versions = existsSync(folder) ? readdirSync(folder) : [];
  return versions
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => `${folder}/${version}/bin`);
}

/** Null when it is there; else why it cannot be. */
async function install(): Promise<string | null> {
  if (Bun.which("apt-get") === null) {
    return "PostgreSQL is not installed, and there is no apt-get";
  }
  const administrator = await administratorPrefix();
  try {
    if (administrator === null) {
      console.error("Unpacking Debian's PostgreSQL into .cache/debian");
      for (const name of await needed()) await unpack(name);
    } else {
      console.error("Installing Debian's PostgreSQL");
      await installAs(administrator);
    }
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function installAs(administrator: string[]): Promise<void> {
  const configure = `test -e ${clusterConfig} ||
    { mkdir -p ${dirname(clusterConfig)} && echo 'create_main_cluster = false' >${clusterConfig}; }`;
  await run([...administrator, "sh", "-c", configure], root);
  const keep = ["UCF_FORCE_CONFFOLD=1", "apt-get", "-o", "Dpkg::Options::=--force-confold"];
  const command = ["install", "--yes", "--no-install-recommends", packageName];
  await withFreshLists(administrator, [...administrator, ...keep, ...command]);
}

/** What an installation would bring, by a rehearsal of one: the packages that are not here yet. */
async function needed(): Promise<string[]> {
  const rehearse = ["apt-get", "install", "--simulate", "--no-install-recommends", packageName];
  const child = Bun.spawn(rehearse, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${rehearse.join(" ")} failed with ${code}\n${errors}`);
  return [...output.matchAll(/^Inst (\S+)/gm)].flatMap(([, name]) => name ?? []);
}
