/**
 * The migrations of an upgrade's test: the real ones, and one that is not written yet, which does
 * what migrations do to data that is there.
 */
import { postgresMigrations, sqliteMigrations } from "../../src/storage/migrations.ts";
import type { Migration } from "../../src/storage/migrator.ts";

const laterSqlite = `
create table labels (
  name text not null primary key,
  note text not null
) strict, without rowid;

insert into labels (name, note) select key, value from kv;

-- A trigger has statements inside; they are one with it.
create trigger labels_reject_update before update on labels
begin
  select raise(abort, 'labels is append-only: UPDATE rejected');
end;

alter table accounts add column note text not null default '';
update accounts set note = 'was here before';
create index accounts_by_note on accounts (note);
delete from kv where key = 'nothing';
`;

const laterPostgres = `
create table labels (
  name text collate "C" not null primary key,
  note text collate "C" not null
);

insert into labels (name, note) select key, value from kv;

create function labels_reject() returns trigger language plpgsql as $$
begin
  raise exception 'labels is append-only: UPDATE rejected';
end;
$$;

create trigger labels_reject_update before update on labels
  for each row execute function labels_reject();

alter table accounts add column note text collate "C" not null default '';
update accounts set note = 'was here before';
create index accounts_by_note on accounts (note);
delete from kv where key = 'nothing';
`;

export const upgradeMigrations: readonly Migration[] = [
  ...sqliteMigrations,
  { number: sqliteMigrations.length + 1, name: "later", text: laterSqlite },
];

export const upgradePostgresMigrations: readonly Migration[] = [
  ...postgresMigrations,
  { number: postgresMigrations.length + 1, name: "later", text: laterPostgres },
];

/**
 * The statements of a migration. A statement ends with its line, a trigger's at `end;`, a function's
 * behind its closing `$$`: how our migrations are written, which the test checks.
 */
export function splitStatements(text: string): string[] {
  const found: string[] = [];
  let lines: string[] = [];
  for (const line of text.split("\n")) {
    lines.push(line);
    const statement = lines.join("\n");
    const isInside =
      (/^\s*create trigger\b[^$]*^begin$/im.test(statement) && !/^end;$/im.test(statement)) ||
      (statement.split("$$").length - 1) % 2 === 1;
    if (!/;\s*$/.test(line) || /^\s*--/.test(line) || isInside) continue;
    found.push(statement);
    lines = [];
  }
  const rest = lines.join("\n");
  return rest.replace(/--.*$/gm, "").trim() === "" ? found : [...found, rest];
}
