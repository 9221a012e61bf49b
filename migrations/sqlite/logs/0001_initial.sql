-- Execution records, best effort. No references: they live in a file of their own.
-- Ids sort by time (UUIDv7), so that the oldest rows are found without another index to write.

create table executions (
  id text not null primary key check (id <> ''),
  app_id text not null,
  script_id text not null,
  version integer not null,
  request_id text not null,
  invocation text not null check (invocation in ('route', 'execute', 'event')),
  status text not null
    check (
      status in ('success', 'error', 'timeout', 'budget_exceeded', 'overloaded', 'sandbox_lost')
    ),
  status_code integer not null,
  started_at integer not null,
  duration_ms real not null,
  cpu_ms real not null,
  memory_bytes integer not null,
  logs_dropped integer not null,
  abandoned integer not null check (abandoned in (0, 1)),
  error text,
  request text,
  response text,
  logs text not null
) strict;

create index executions_by_script on executions (script_id, started_at desc, id desc);
