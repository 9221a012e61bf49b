-- Who may do what: members of apps, API keys, hosts of apps, nominations, the audit trail.

create table app_members (
  app_id text collate "C" not null references apps (id) on delete cascade,
  account_id text collate "C" not null references accounts (id) on delete cascade,
  role text collate "C" not null check (role in ('admin', 'editor', 'viewer')),
  created_at bigint not null,
  created_by text collate "C" references accounts (id) on delete set null,
  primary key (account_id, app_id)
);

create index app_members_by_app on app_members (app_id, account_id);
create index app_members_by_creator on app_members (created_by);

-- Found by its prefix, known by the hash of the rest: 220 random bits need no slow hash.
create table api_keys (
  id text collate "C" not null primary key check (id <> ''),
  account_id text collate "C" not null references accounts (id) on delete cascade,
  app_id text collate "C" references apps (id) on delete cascade,
  name text collate "C" not null check (length(name) between 1 and 128),
  prefix text collate "C" not null unique check (length(prefix) = 8),
  secret_hash text collate "C" not null
    check (length(secret_hash) = 64 and secret_hash ~ '^[0-9a-f]*$'),
  scopes text collate "C" not null check (json_typeof(scopes::json) = 'array'),
  created_at bigint not null,
  expires_at bigint,
  last_used_at bigint
);

create index api_keys_by_account on api_keys (account_id, created_at, id);
create index api_keys_by_app on api_keys (app_id, created_at, id);
create index api_keys_by_expiry on api_keys (expires_at) where expires_at is not null;

-- A host is one name, or all below one (`*.` before it): on it only routes of its app are served.
create table app_hosts (
  host text collate "C" not null primary key check (length(host) between 1 and 257),
  app_id text collate "C" not null references apps (id) on delete cascade,
  created_at bigint not null,
  created_by text collate "C" references accounts (id) on delete set null
);

create index app_hosts_by_app on app_hosts (app_id, host);
create index app_hosts_by_creator on app_hosts (created_by);

-- Where a session was opened, for the list that its owner sees.
alter table sessions add column address text collate "C" not null default '';
alter table sessions add column user_agent text collate "C" not null default '';

-- A higher role that an admin asks for and an owner grants.
alter table accounts add column nominated_role text collate "C"
  check (nominated_role in ('owner', 'admin'));
alter table accounts add column nominated_by text collate "C";
alter table accounts add column nominated_at bigint;

-- Refers to no table: it outlives what it tells of. `actor` is null for the program itself.
-- Kept in the order of time, and with no other index: each would cost more pages of a card at every
-- change than the row does (SQLite, 50,000 rows: 6.4 pages with indexes by app and by actor, 1.8 without),
-- and reading all of it is quick (5 ms).
create table audit (
  id text collate "C" not null check (id <> ''),
  at bigint not null,
  actor_id text collate "C",
  actor_name text collate "C" not null,
  credential text collate "C" not null check (credential <> ''),
  address text collate "C" not null,
  request_id text collate "C" not null,
  action text collate "C" not null check (length(action) between 1 and 64),
  target_kind text collate "C" not null check (length(target_kind) between 1 and 64),
  target_id text collate "C" not null,
  target_name text collate "C" not null,
  app_id text collate "C",
  detail text collate "C" not null check (json_typeof(detail::json) = 'object'),
  primary key (at, id)
);

create function audit_reject() returns trigger
language plpgsql set search_path from current as $$
begin
  raise exception 'audit is append-only: % rejected', tg_op;
end;
$$;

create trigger audit_reject_update before update on audit
for each row execute function audit_reject();

create trigger audit_reject_truncate before truncate on audit
for each statement execute function audit_reject();

-- What is past retention may go: who purges says first, in the same transaction, up to when.
create function audit_reject_delete() returns trigger
language plpgsql set search_path from current as $$
begin
  if old.at >= coalesce(
    (select value::bigint from settings where name = 'audit_purged_before'), 0) then
    raise exception 'audit is append-only: DELETE rejected';
  end if;
  return old;
end;
$$;

create trigger audit_reject_delete before delete on audit
for each row execute function audit_reject_delete();
