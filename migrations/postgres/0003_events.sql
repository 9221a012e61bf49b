-- Triggers, the outbox, attempts, dead letters, results of `tx`, and asynchronous executions.
-- An event is one change, tick or request; a delivery is an event for one trigger, and has a row in the
-- outbox until it is settled.

alter table kv add column expires_at bigint check (expires_at is null or expires_at > 0);
create index kv_by_expiry on kv (expires_at) where expires_at is not null;

-- Columns that are not of the kind are null; the operations are 0 but for kv and docs.
create table triggers (
  id text collate "C" not null primary key check (id <> ''),
  app_id text collate "C" not null references apps (id) on delete cascade,
  script_id text collate "C" not null,
  kind text collate "C" not null check (kind in ('kv', 'docs', 'cron', 'dead_letter')),
  is_enabled integer not null check (is_enabled in (0, 1)),
  collection text collate "C" check (collection is null or octet_length(collection) between 1 and 128),
  on_insert integer not null check (on_insert in (0, 1)),
  on_update integer not null check (on_update in (0, 1)),
  on_delete integer not null check (on_delete in (0, 1)),
  expression text collate "C" check (length(expression) between 1 and 256),
  timezone text collate "C" check (length(timezone) between 1 and 64),
  overlap text collate "C" check (overlap in ('skip', 'queue')),
  next_at bigint,
  last_at bigint,
  retry text collate "C" check (retry is null or json_typeof(retry::json) = 'object'),
  registered_by text collate "C" references accounts (id) on delete set null,
  created_at bigint not null,
  updated_at bigint not null,
  check ((kind in ('kv', 'docs')) = (collection is not null)),
  check ((kind in ('kv', 'docs')) = (on_insert + on_update + on_delete > 0)),
  check ((kind = 'cron') = (expression is not null)),
  check ((kind = 'cron') = (timezone is not null)),
  check ((kind = 'cron') = (overlap is not null)),
  check (kind = 'cron' or (next_at is null and last_at is null)),
  check ((kind = 'dead_letter') = (retry is null)),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
);

create index triggers_by_app on triggers (app_id, kind, created_at, id);
create index triggers_by_script on triggers (script_id);
create index triggers_by_registrar on triggers (registered_by);
create index triggers_by_due on triggers (next_at) where kind = 'cron' and is_enabled = 1;

-- trigger_id is '' for an asynchronous route. It refers to no table: a delivery outlives a change of
-- triggers, and who deletes one deletes what waits for it. due_at is 0 for at once; of a claimed row it is
-- when the lease ends, so that one index finds all that may be claimed. Attempts are counted on through a
-- replay, whose policy counts from attempt_base.
create table outbox (
  event_id text collate "C" not null check (event_id <> ''),
  trigger_id text collate "C" not null,
  app_id text collate "C" not null references apps (id) on delete cascade,
  script_id text collate "C" not null,
  source text collate "C" not null check (source in ('kv', 'docs', 'cron', 'dead_letter', 'route')),
  type text collate "C" not null check (type in ('insert', 'update', 'delete', 'fire')),
  depth integer not null check (depth between 0 and 8),
  root_execution_id text collate "C" not null,
  created_at bigint not null,
  due_at bigint not null check (due_at >= 0),
  attempt bigint not null check (attempt >= 0),
  attempt_base bigint not null check (attempt_base >= 0),
  crashes bigint not null check (crashes >= 0),
  lease_owner text collate "C",
  fence bigint not null check (fence >= 0),
  retry text collate "C" check (retry is null or json_typeof(retry::json) = 'object'),
  dead_letter_id text collate "C",
  payload text collate "C" not null,
  primary key (event_id, trigger_id),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
);

-- The script is in it for who deletes one: an index of its own would be one more page of every write.
create index outbox_by_due on outbox (app_id, due_at, event_id, trigger_id, script_id);
-- What `overlap` asks; it costs the other sources nothing.
create index outbox_by_cron on outbox (trigger_id) where source = 'cron';

-- Attempts that failed, of deliveries that wait or that are dead letters.
create table event_attempts (
  event_id text collate "C" not null,
  trigger_id text collate "C" not null,
  number bigint not null check (number >= 1),
  app_id text collate "C" not null references apps (id) on delete cascade,
  execution_id text collate "C" not null,
  status text collate "C" not null,
  error text collate "C",
  started_at bigint not null,
  duration_ms double precision not null,
  primary key (event_id, trigger_id, number)
);

create index event_attempts_by_app on event_attempts (app_id, event_id, trigger_id, number);

create function event_attempts_reject() returns trigger
language plpgsql set search_path from current as $$
begin
  raise exception 'event_attempts is append-only: % rejected', tg_op;
end;
$$;

create trigger event_attempts_reject_update before update on event_attempts
for each row execute function event_attempts_reject();

create trigger event_attempts_reject_truncate before truncate on event_attempts
for each statement execute function event_attempts_reject();

-- What a `tx` of a handler resolved to: a retry gets it back instead of running it again.
create table tx_results (
  event_id text collate "C" not null,
  trigger_id text collate "C" not null,
  ordinal bigint not null check (ordinal >= 1),
  app_id text collate "C" not null references apps (id) on delete cascade,
  result text collate "C" not null check (octet_length(result) <= 262144),
  primary key (event_id, trigger_id, ordinal)
);

create index tx_results_by_app on tx_results (app_id, event_id, trigger_id, ordinal);

create table dead_letters (
  id text collate "C" not null primary key check (id <> ''),
  app_id text collate "C" not null references apps (id) on delete cascade,
  event_id text collate "C" not null,
  trigger_id text collate "C" not null,
  script_id text collate "C" not null,
  source text collate "C" not null check (source in ('kv', 'docs', 'cron', 'dead_letter', 'route')),
  type text collate "C" not null check (type in ('insert', 'update', 'delete', 'fire')),
  state text collate "C" not null
    check (state in ('open', 'handler_failed', 'replaying', 'replayed', 'resolved')),
  attempts bigint not null check (attempts >= 0),
  error text collate "C" not null check (json_typeof(error::json) = 'object'),
  depth integer not null check (depth between 0 and 8),
  root_execution_id text collate "C" not null,
  event_at bigint not null,
  created_at bigint not null,
  updated_at bigint not null,
  resolved_by text collate "C" references accounts (id) on delete set null,
  note text collate "C" check (length(note) <= 4096),
  retry text collate "C" check (retry is null or json_typeof(retry::json) = 'object'),
  payload text collate "C" not null,
  unique (event_id, trigger_id),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
);

create index dead_letters_by_app on dead_letters (app_id, created_at desc, id desc);
create index dead_letters_by_script on dead_letters (script_id);
create index dead_letters_by_resolver on dead_letters (resolved_by);

-- What the caller of an asynchronous route may ask after. The id is that of the event, too.
create table async_executions (
  id text collate "C" not null primary key check (id <> ''),
  app_id text collate "C" not null references apps (id) on delete cascade,
  script_id text collate "C" not null,
  token_hash text collate "C" not null
    check (token_hash ~ '^[0-9a-f]{64}$'),
  status text collate "C" not null check (status in ('pending', 'success', 'failed')),
  attempts bigint not null check (attempts >= 0),
  status_code bigint,
  created_at bigint not null,
  finished_at bigint,
  response text collate "C" check (response is null or json_typeof(response::json) = 'object'),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
);

-- Also for who deletes a script; what is past its time is found by the ids, which sort by it.
create index async_executions_by_app on async_executions (app_id, status, id);
