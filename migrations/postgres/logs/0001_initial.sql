-- Execution records, best effort. No references: they live in a schema of their own.
-- Ids sort by time (UUIDv7), so that the oldest rows are found without another index to write.

create table executions (
  id text collate "C" not null primary key check (id <> ''),
  app_id text collate "C" not null,
  script_id text collate "C" not null,
  version bigint not null,
  request_id text collate "C" not null,
  invocation text collate "C" not null check (invocation in ('route', 'execute', 'event')),
  status text collate "C" not null
    check (
      status in ('success', 'error', 'timeout', 'budget_exceeded', 'overloaded', 'sandbox_lost')
    ),
  status_code bigint not null,
  started_at bigint not null,
  duration_ms double precision not null,
  cpu_ms double precision not null,
  memory_bytes bigint not null,
  logs_dropped bigint not null,
  abandoned integer not null check (abandoned in (0, 1)),
  error text collate "C",
  request text collate "C",
  response text collate "C",
  logs text collate "C" not null
);

create index executions_by_script on executions (script_id, started_at desc, id desc);
