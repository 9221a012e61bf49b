-- What the active version of each script imports, by name: what is imported may not exist yet.
-- Written in the transaction that saves the script.
create table script_imports (
  script_id text collate "C" not null,
  app_id text collate "C" not null,
  name text collate "C" not null
    check (name ~ '^[a-zA-Z_][a-zA-Z0-9_]{0,63}$' and name <> 'picloud'),
  primary key (script_id, name),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
);

create index script_imports_by_name on script_imports (app_id, name);

insert into script_imports (script_id, app_id, name)
select distinct s.id, s.app_id, imported.name
from scripts as s
join script_versions as v on v.script_id = s.id and v.number = s.active_version
cross join lateral json_array_elements_text(v.imports::json) as imported (name)
where imported.name <> 'picloud';

-- The rule that a module's top level was checked by; 0 for none.
alter table script_versions add column shape_rule bigint not null default 0
  check (shape_rule >= 0);
