-- Apps, accounts, scripts with their versions, routes, sessions, settings and key-value data.
-- Every CHECK is the twin of a rule in src/domain. Times are epoch milliseconds, booleans 0 or 1.
-- Text compares by its UTF-8 bytes (SQLite's BINARY), which is the order of code points.

create table accounts (
  id text not null primary key check (id <> ''),
  username text not null unique
    check (length(username) between 1 and 64 and username not glob '*[^a-z0-9._-]*'),
  password_hash text not null check (password_hash <> ''),
  role text not null check (role in ('owner', 'admin', 'member')),
  is_active integer not null check (is_active in (0, 1)),
  created_at integer not null
) strict, without rowid;

create table sessions (
  token_hash text not null primary key
    check (length(token_hash) = 64 and token_hash not glob '*[^0-9a-f]*'),
  account_id text not null references accounts (id) on delete cascade,
  created_at integer not null,
  expires_at integer not null,
  last_seen_at integer not null
) strict, without rowid;

create index sessions_by_account on sessions (account_id);
create index sessions_by_expiry on sessions (expires_at);

create table settings (
  name text not null primary key check (name <> ''),
  value text not null
) strict, without rowid;

create table apps (
  id text not null primary key check (id <> ''),
  slug text not null unique
    check (
      length(slug) between 1 and 63
      and slug not glob '*[^a-z0-9-]*' and slug not glob '-*' and slug not glob '*-'
    ),
  name text not null check (length(name) between 1 and 128),
  created_at integer not null
) strict, without rowid;

-- The active version must exist when the transaction ends: a script is inserted with its first one.
create table scripts (
  id text not null primary key check (id <> ''),
  app_id text not null references apps (id) on delete cascade,
  name text not null check (length(name) between 1 and 128),
  kind text not null check (kind in ('endpoint', 'module')),
  description text not null check (length(description) <= 4096),
  limits text not null check (json_type(limits) = 'object'),
  public_execute integer not null check (public_execute in (0, 1)),
  active_version integer not null check (active_version >= 1),
  created_at integer not null,
  updated_at integer not null,
  unique (app_id, name),
  unique (id, app_id),
  foreign key (id, active_version) references script_versions (script_id, number)
    deferrable initially deferred
) strict, without rowid;

create index scripts_by_name on scripts (name, id);

-- The small columns and the code come first: a row is read front to back, and a run needs no source.
-- created_by refers to no table: history keeps the id of an account that is gone.
create table script_versions (
  script_id text not null references scripts (id) on delete cascade,
  number integer not null check (number >= 1),
  kind text not null check (kind in ('endpoint', 'module')),
  created_at integer not null,
  created_by text,
  source_bytes integer not null check (source_bytes between 0 and 1048576),
  imports text not null check (json_type(imports) = 'array'),
  code text not null,
  source_map text not null,
  source text not null,
  primary key (script_id, number)
) strict;

create trigger script_versions_reject_update before update on script_versions
begin
  select raise(abort, 'script_versions is append-only: UPDATE rejected');
end;

-- A cascade deletes the parent first, so that its rows pass here.
create trigger script_versions_reject_delete before delete on script_versions
when exists (select 1 from scripts where scripts.id = old.script_id)
begin
  select raise(abort, 'script_versions is append-only: DELETE rejected');
end;

-- A route and its script are of one app.
create table routes (
  id text not null primary key check (id <> ''),
  app_id text not null references apps (id) on delete cascade,
  script_id text not null,
  path text not null check (length(path) between 1 and 1024 and path glob '/*'),
  path_kind text not null check (path_kind in ('exact', 'prefix', 'param')),
  method text not null
    check (method in ('ANY', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')),
  host text not null check (length(host) <= 255),
  host_kind text not null check (host_kind in ('any', 'strict', 'wildcard')),
  host_param_name text check (host_param_name is null or host_kind = 'wildcard'),
  dispatch_mode text not null check (dispatch_mode in ('sync', 'async')),
  created_at integer not null,
  created_by text references accounts (id) on delete set null,
  check (host_kind = 'any' or host <> ''),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
) strict, without rowid;

-- Equal routes always conflict; which others do is decided in src/routing.
create unique index routes_by_pattern on routes (path_kind, host, path, method, host_kind);
create index routes_by_script on routes (script_id, created_at, id);
create index routes_by_app on routes (app_id);
create index routes_by_creator on routes (created_by);

create table kv (
  app_id text not null references apps (id) on delete cascade,
  collection text not null check (octet_length(collection) between 1 and 128),
  key text not null check (octet_length(key) between 1 and 512),
  version integer not null check (version >= 1),
  updated_at integer not null,
  value text not null check (octet_length(value) <= 262144),
  primary key (app_id, collection, key)
) strict, without rowid;
