-- Documents, and their indexes as rows.

create table docs (
  app_id text collate "C" not null references apps (id) on delete cascade,
  collection text collate "C" not null check (octet_length(collection) between 1 and 128),
  id text collate "C" not null check (octet_length(id) between 1 and 512),
  version bigint not null check (version >= 1),
  updated_at bigint not null,
  value text collate "C" not null check (octet_length(value) <= 262144),
  primary key (app_id, collection, id)
);

-- While an index is built, documents up to and including built_to are in it, and all that are written.
create table doc_indexes (
  app_id text collate "C" not null references apps (id) on delete cascade,
  collection text collate "C" not null check (octet_length(collection) between 1 and 128),
  field text collate "C" not null check (octet_length(field) between 1 and 256),
  state text collate "C" not null check (state in ('building', 'ready')),
  built_to text collate "C" not null,
  created_at bigint not null,
  primary key (app_id, collection, field)
);

-- One row for each value of the field in a document: several when it holds an array. `type` orders values of
-- different types (domain/doc-values.ts); `number` and `text` order those of one, and one of them is set.
create table doc_index_entries (
  app_id text collate "C" not null,
  collection text collate "C" not null,
  field text collate "C" not null,
  type integer not null check (type >= 0),
  number double precision not null,
  text text collate "C" not null,
  doc_id text collate "C" not null,
  primary key (app_id, collection, field, type, number, text, doc_id),
  foreign key (app_id, collection, field)
    references doc_indexes (app_id, collection, field) on delete cascade
);

create index doc_index_entries_by_doc on doc_index_entries (app_id, collection, doc_id);
