-- What the active version of each script imports, by name: what is imported may not exist yet.
-- Written in the transaction that saves the script.
create table script_imports (
  script_id text not null,
  app_id text not null,
  name text not null
    check (
      length(name) between 1 and 64 and name not glob '*[^a-zA-Z0-9_]*'
      and name not glob '[0-9]*' and name <> 'picloud'
    ),
  primary key (script_id, name),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
) strict, without rowid;

create index script_imports_by_name on script_imports (app_id, name);

insert into script_imports (script_id, app_id, name)
select distinct s.id, s.app_id, imported.value
from scripts as s
join script_versions as v on v.script_id = s.id and v.number = s.active_version
join json_each(v.imports) as imported
where imported.value <> 'picloud';

-- The rule that a module's top level was checked by; 0 for none. SQLite keeps 0 and 1 in the header of
-- a row, so that reading them does not walk through its texts.
alter table script_versions add column shape_rule integer not null default 0
  check (shape_rule >= 0);
