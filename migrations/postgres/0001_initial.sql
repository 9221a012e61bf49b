-- Apps, accounts, scripts with their versions, routes, sessions, settings and key-value data.
-- Every CHECK is the twin of a rule in src/domain. Times are epoch milliseconds, booleans 0 or 1.
-- Text compares by its UTF-8 bytes ("C"), which is the order of code points, whatever the database's
-- own collation. Numbers are bigint, so that a bound of JavaScript's largest integers fits.

create table accounts (
  id text collate "C" not null primary key check (id <> ''),
  username text collate "C" not null unique
    check (length(username) between 1 and 64 and username ~ '^[a-z0-9._-]*$'),
  password_hash text collate "C" not null check (password_hash <> ''),
  role text collate "C" not null check (role in ('owner', 'admin', 'member')),
  is_active integer not null check (is_active in (0, 1)),
  created_at bigint not null
);

create table sessions (
  token_hash text collate "C" not null primary key check (token_hash ~ '^[0-9a-f]{64}$'),
  account_id text collate "C" not null references accounts (id) on delete cascade,
  created_at bigint not null,
  expires_at bigint not null,
  last_seen_at bigint not null
);

create index sessions_by_account on sessions (account_id);
create index sessions_by_expiry on sessions (expires_at);

create table settings (
  name text collate "C" not null primary key check (name <> ''),
  value text collate "C" not null
);

create table apps (
  id text collate "C" not null primary key check (id <> ''),
  slug text collate "C" not null unique
    check (length(slug) between 1 and 63 and slug ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'),
  name text collate "C" not null check (length(name) between 1 and 128),
  created_at bigint not null
);

-- The active version must exist when the transaction ends: a script is inserted with its first one.
create table scripts (
  id text collate "C" not null primary key check (id <> ''),
  app_id text collate "C" not null references apps (id) on delete cascade,
  name text collate "C" not null check (length(name) between 1 and 128),
  kind text collate "C" not null check (kind in ('endpoint', 'module')),
  description text collate "C" not null check (length(description) <= 4096),
  limits text collate "C" not null check (json_typeof(limits::json) = 'object'),
  public_execute integer not null check (public_execute in (0, 1)),
  active_version bigint not null check (active_version >= 1),
  created_at bigint not null,
  updated_at bigint not null,
  unique (app_id, name),
  unique (id, app_id)
);

create index scripts_by_name on scripts (name, id);

-- created_by refers to no table: history keeps the id of an account that is gone.
create table script_versions (
  script_id text collate "C" not null references scripts (id) on delete cascade,
  number bigint not null check (number >= 1),
  kind text collate "C" not null check (kind in ('endpoint', 'module')),
  created_at bigint not null,
  created_by text collate "C",
  source_bytes bigint not null check (source_bytes between 0 and 1048576),
  imports text collate "C" not null check (json_typeof(imports::json) = 'array'),
  code text collate "C" not null,
  source_map text collate "C" not null,
  source text collate "C" not null,
  primary key (script_id, number)
);

alter table scripts add constraint scripts_active_version_fkey
  foreign key (id, active_version) references script_versions (script_id, number)
  deferrable initially deferred;

-- The functions look their tables up where they were made, whatever the session's search_path.
create function script_versions_reject() returns trigger
language plpgsql set search_path from current as $$
begin
  raise exception 'script_versions is append-only: % rejected', tg_op;
end;
$$;

create trigger script_versions_reject_update before update on script_versions
for each row execute function script_versions_reject();

create trigger script_versions_reject_truncate before truncate on script_versions
for each statement execute function script_versions_reject();

-- A cascade deletes the parent first, so that its rows pass here.
create function script_versions_reject_delete() returns trigger
language plpgsql set search_path from current as $$
begin
  if exists (select 1 from scripts where scripts.id = old.script_id) then
    raise exception 'script_versions is append-only: DELETE rejected';
  end if;
  return old;
end;
$$;

create trigger script_versions_reject_delete before delete on script_versions
for each row execute function script_versions_reject_delete();

-- A route and its script are of one app.
create table routes (
  id text collate "C" not null primary key check (id <> ''),
  app_id text collate "C" not null references apps (id) on delete cascade,
  script_id text collate "C" not null,
  path text collate "C" not null check (length(path) between 1 and 1024 and path like '/%'),
  path_kind text collate "C" not null check (path_kind in ('exact', 'prefix', 'param')),
  method text collate "C" not null
    check (method in ('ANY', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')),
  host text collate "C" not null check (length(host) <= 255),
  host_kind text collate "C" not null check (host_kind in ('any', 'strict', 'wildcard')),
  host_param_name text collate "C" check (host_param_name is null or host_kind = 'wildcard'),
  dispatch_mode text collate "C" not null check (dispatch_mode in ('sync', 'async')),
  created_at bigint not null,
  created_by text collate "C" references accounts (id) on delete set null,
  check (host_kind = 'any' or host <> ''),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
);

-- Equal routes always conflict; which others do is decided in src/routing. Of the path its digest: an
-- entry of an index has at most 2,704 bytes, a path up to 4,096.
create unique index routes_by_pattern on routes
  (path_kind, host, sha256(decode(replace(path, '\', '\\'), 'escape')), method, host_kind);
create index routes_by_script on routes (script_id, created_at, id);
create index routes_by_app on routes (app_id);
create index routes_by_creator on routes (created_by);

create table kv (
  app_id text collate "C" not null references apps (id) on delete cascade,
  collection text collate "C" not null check (octet_length(collection) between 1 and 128),
  key text collate "C" not null check (octet_length(key) between 1 and 512),
  version bigint not null check (version >= 1),
  updated_at bigint not null,
  value text collate "C" not null check (octet_length(value) <= 262144),
  primary key (app_id, collection, key)
);
