-- Who may do what: members of apps, API keys, hosts of apps, nominations, the audit trail.

create table app_members (
  app_id text not null references apps (id) on delete cascade,
  account_id text not null references accounts (id) on delete cascade,
  role text not null check (role in ('admin', 'editor', 'viewer')),
  created_at integer not null,
  created_by text references accounts (id) on delete set null,
  primary key (account_id, app_id)
) strict, without rowid;

create index app_members_by_app on app_members (app_id, account_id);
create index app_members_by_creator on app_members (created_by);

-- Found by its prefix, known by the hash of the rest: 220 random bits need no slow hash.
create table api_keys (
  id text not null primary key check (id <> ''),
  account_id text not null references accounts (id) on delete cascade,
  app_id text references apps (id) on delete cascade,
  name text not null check (length(name) between 1 and 128),
  prefix text not null unique check (length(prefix) = 8),
  secret_hash text not null
    check (length(secret_hash) = 64 and secret_hash not glob '*[^0-9a-f]*'),
  scopes text not null check (json_type(scopes) = 'array'),
  created_at integer not null,
  expires_at integer,
  last_used_at integer
) strict, without rowid;

create index api_keys_by_account on api_keys (account_id, created_at, id);
create index api_keys_by_app on api_keys (app_id, created_at, id);
create index api_keys_by_expiry on api_keys (expires_at) where expires_at is not null;

-- A host is one name, or all below one (`*.` before it): on it only routes of its app are served.
create table app_hosts (
  host text not null primary key check (length(host) between 1 and 257),
  app_id text not null references apps (id) on delete cascade,
  created_at integer not null,
  created_by text references accounts (id) on delete set null
) strict, without rowid;

create index app_hosts_by_app on app_hosts (app_id, host);
create index app_hosts_by_creator on app_hosts (created_by);

-- Where a session was opened, for the list that its owner sees.
alter table sessions add column address text not null default '';
alter table sessions add column user_agent text not null default '';

-- A higher role that an admin asks for and an owner grants.
alter table accounts add column nominated_role text
  check (nominated_role in ('owner', 'admin'));
alter table accounts add column nominated_by text;
alter table accounts add column nominated_at integer;

-- Refers to no table: it outlives what it tells of. `actor` is null for the program itself.
-- Kept in the order of time, and with no other index: each would cost more pages of a card at every
-- change than the row does (SQLite, 50,000 rows: 6.4 pages with indexes by app and by actor, 1.8 without),
-- and reading all of it is quick (5 ms).
create table audit (
  id text not null check (id <> ''),
  at integer not null,
  actor_id text,
  actor_name text not null,
  credential text not null check (credential <> ''),
  address text not null,
  request_id text not null,
  action text not null check (length(action) between 1 and 64),
  target_kind text not null check (length(target_kind) between 1 and 64),
  target_id text not null,
  target_name text not null,
  app_id text,
  detail text not null check (json_type(detail) = 'object'),
  primary key (at, id)
) strict, without rowid;

create trigger audit_reject_update before update on audit
begin
  select raise(abort, 'audit is append-only: UPDATE rejected');
end;

-- What is past retention may go: who purges says first, in the same transaction, up to when.
create trigger audit_reject_delete before delete on audit
when old.at >= coalesce(
  (select cast(value as integer) from settings where name = 'audit_purged_before'), 0)
begin
  select raise(abort, 'audit is append-only: DELETE rejected');
end;
