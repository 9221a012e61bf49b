-- Triggers, the outbox, attempts, dead letters, results of `tx`, and asynchronous executions.
-- An event is one change, tick or request; a delivery is an event for one trigger, and has a row in the
-- outbox until it is settled.

alter table kv add column expires_at integer check (expires_at is null or expires_at > 0);
create index kv_by_expiry on kv (expires_at) where expires_at is not null;

-- Columns that are not of the kind are null; the operations are 0 but for kv and docs.
create table triggers (
  id text not null primary key check (id <> ''),
  app_id text not null references apps (id) on delete cascade,
  script_id text not null,
  kind text not null check (kind in ('kv', 'docs', 'cron', 'dead_letter')),
  is_enabled integer not null check (is_enabled in (0, 1)),
  collection text check (collection is null or octet_length(collection) between 1 and 128),
  on_insert integer not null check (on_insert in (0, 1)),
  on_update integer not null check (on_update in (0, 1)),
  on_delete integer not null check (on_delete in (0, 1)),
  expression text check (length(expression) between 1 and 256),
  timezone text check (length(timezone) between 1 and 64),
  overlap text check (overlap in ('skip', 'queue')),
  next_at integer,
  last_at integer,
  retry text check (retry is null or json_type(retry) = 'object'),
  registered_by text references accounts (id) on delete set null,
  created_at integer not null,
  updated_at integer not null,
  check ((kind in ('kv', 'docs')) = (collection is not null)),
  check ((kind in ('kv', 'docs')) = (on_insert + on_update + on_delete > 0)),
  check ((kind = 'cron') = (expression is not null)),
  check ((kind = 'cron') = (timezone is not null)),
  check ((kind = 'cron') = (overlap is not null)),
  check (kind = 'cron' or (next_at is null and last_at is null)),
  check ((kind = 'dead_letter') = (retry is null)),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
) strict, without rowid;

create index triggers_by_app on triggers (app_id, kind, created_at, id);
create index triggers_by_script on triggers (script_id);
create index triggers_by_registrar on triggers (registered_by);
create index triggers_by_due on triggers (next_at) where kind = 'cron' and is_enabled = 1;

-- trigger_id is '' for an asynchronous route. It refers to no table: a delivery outlives a change of
-- triggers, and who deletes one deletes what waits for it. due_at is 0 for at once. A row
-- that is being handled stays as it is: on this engine only its server knows of that, and lease_owner is
-- null. Attempts are counted on through a replay, whose policy counts from attempt_base. Rows lie in the
-- order in which they are claimed: with a key by event an index had to tell that order, which was one more
-- page of every write that emits and of every settlement.
create table outbox (
  event_id text not null check (event_id <> ''),
  trigger_id text not null,
  app_id text not null references apps (id) on delete cascade,
  script_id text not null,
  source text not null check (source in ('kv', 'docs', 'cron', 'dead_letter', 'route')),
  type text not null check (type in ('insert', 'update', 'delete', 'fire')),
  depth integer not null check (depth between 0 and 8),
  root_execution_id text not null,
  created_at integer not null,
  due_at integer not null check (due_at >= 0),
  attempt integer not null check (attempt >= 0),
  attempt_base integer not null check (attempt_base >= 0),
  crashes integer not null check (crashes >= 0),
  lease_owner text,
  fence integer not null check (fence >= 0),
  retry text check (retry is null or json_type(retry) = 'object'),
  dead_letter_id text,
  payload text not null,
  primary key (app_id, due_at, event_id, trigger_id),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
) strict, without rowid;

-- What `overlap` asks; it costs the other sources nothing.
create index outbox_by_cron on outbox (trigger_id) where source = 'cron';

-- Attempts that failed, of deliveries that wait or that are dead letters.
create table event_attempts (
  event_id text not null,
  trigger_id text not null,
  number integer not null check (number >= 1),
  app_id text not null references apps (id) on delete cascade,
  execution_id text not null,
  status text not null,
  error text,
  started_at integer not null,
  duration_ms real not null,
  primary key (event_id, trigger_id, number)
) strict, without rowid;

create index event_attempts_by_app on event_attempts (app_id, event_id, trigger_id, number);

create trigger event_attempts_reject_update before update on event_attempts
begin
  select raise(abort, 'event_attempts is append-only: UPDATE rejected');
end;

-- What a `tx` of a handler resolved to: a retry gets it back instead of running it again.
create table tx_results (
  event_id text not null,
  trigger_id text not null,
  ordinal integer not null check (ordinal >= 1),
  app_id text not null references apps (id) on delete cascade,
  result text not null check (octet_length(result) <= 262144),
  primary key (event_id, trigger_id, ordinal)
) strict, without rowid;

create index tx_results_by_app on tx_results (app_id, event_id, trigger_id, ordinal);

create table dead_letters (
  id text not null primary key check (id <> ''),
  app_id text not null references apps (id) on delete cascade,
  event_id text not null,
  trigger_id text not null,
  script_id text not null,
  source text not null check (source in ('kv', 'docs', 'cron', 'dead_letter', 'route')),
  type text not null check (type in ('insert', 'update', 'delete', 'fire')),
  state text not null
    check (state in ('open', 'handler_failed', 'replaying', 'replayed', 'resolved')),
  attempts integer not null check (attempts >= 0),
  error text not null check (json_type(error) = 'object'),
  depth integer not null check (depth between 0 and 8),
  root_execution_id text not null,
  event_at integer not null,
  created_at integer not null,
  updated_at integer not null,
  resolved_by text references accounts (id) on delete set null,
  note text check (length(note) <= 4096),
  retry text check (retry is null or json_type(retry) = 'object'),
  payload text not null,
  unique (event_id, trigger_id),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
) strict, without rowid;

create index dead_letters_by_app on dead_letters (app_id, created_at desc, id desc);
create index dead_letters_by_script on dead_letters (script_id);
create index dead_letters_by_resolver on dead_letters (resolved_by);

-- What the caller of an asynchronous route may ask after. The id is that of the event, too.
create table async_executions (
  id text not null primary key check (id <> ''),
  app_id text not null references apps (id) on delete cascade,
  script_id text not null,
  token_hash text not null
    check (length(token_hash) = 64 and token_hash not glob '*[^0-9a-f]*'),
  status text not null check (status in ('pending', 'success', 'failed')),
  attempts integer not null check (attempts >= 0),
  status_code integer,
  created_at integer not null,
  finished_at integer,
  response text check (response is null or json_type(response) = 'object'),
  foreign key (script_id, app_id) references scripts (id, app_id) on delete cascade
) strict, without rowid;

-- Also for who deletes a script; what is past its time is found by the ids, which sort by it.
create index async_executions_by_app on async_executions (app_id, status, id);
