-- Documents, and their indexes as rows.

-- With row ids: rows are long, and a table without them wastes half of its pages (100,000 of 1.5 KB: 468 MB, and
-- 215 MB with row ids; a read of one 17 µs and 7 µs).
create table docs (
  app_id text not null references apps (id) on delete cascade,
  collection text not null check (octet_length(collection) between 1 and 128),
  id text not null check (octet_length(id) between 1 and 512),
  version integer not null check (version >= 1),
  updated_at integer not null,
  value text not null check (octet_length(value) <= 262144),
  primary key (app_id, collection, id)
) strict;

-- While an index is built, documents up to and including built_to are in it, and all that are written; the
-- same while it is dropped. multikey: no document has several entries (0), some have (1), some have more
-- than are kept (2).
create table doc_indexes (
  app_id text not null references apps (id) on delete cascade,
  collection text not null check (octet_length(collection) between 1 and 128),
  field text not null check (octet_length(field) between 1 and 256),
  state text not null check (state in ('building', 'ready', 'dropping')),
  built_to text not null,
  multikey integer not null check (multikey in (0, 1, 2)),
  created_at integer not null,
  primary key (app_id, collection, field)
) strict, without rowid;

create index doc_indexes_unfinished on doc_indexes (created_at) where state <> 'ready';

-- One row for each value of the field in a document: several when it holds an array. (type, number, text) sort
-- as the values do: domain/doc-index-keys.ts.
create table doc_index_entries (
  app_id text not null,
  collection text not null,
  field text not null,
  type integer not null check (type >= 0),
  number real not null,
  text text not null,
  doc_id text not null,
  primary key (app_id, collection, field, type, number, text, doc_id),
  foreign key (app_id, collection, field)
    references doc_indexes (app_id, collection, field) on delete cascade
) strict, without rowid;
