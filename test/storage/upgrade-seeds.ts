/**
 * Rows of every age: what a PiCloud of schema 1, 2, … could have written. A new migration appends
 * the rows of its own tables here; the upgrade tests fail until every table has some.
 */

/** Number of a migration → statements for both engines, run when it is the newest one. */
export const upgradeSeeds: Readonly<Record<number, readonly string[]>> = {
  1: [
    `insert into accounts (id, username, password_hash, role, is_active, created_at)
     values ('acc-1', 'ada', '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA', 'owner', 1, 1700000000000)`,
    `insert into sessions (token_hash, account_id, created_at, expires_at, last_seen_at)
     values ('${"0f".repeat(32)}', 'acc-1', 1700000000001, 1900000000000, 1700000000002)`,
    `insert into settings (name, value) values ('last_time', '1700000000003')`,
    `insert into apps (id, slug, name, created_at) values ('app-1', 'default', 'Default', 1)`,
    // One transaction: the active version must exist when it ends.
    `insert into scripts (id, app_id, name, kind, description, limits, public_execute,
       active_version, created_at, updated_at)
     values ('scr-1', 'app-1', 'Grüße 🥧', 'endpoint', '', '{"memory_mb":16}', 0, 2, 2, 3),
            ('scr-2', 'app-1', 'labels', 'module', 'of names', '{}', 0, 1, 2, 3)`,
    `insert into script_versions (script_id, number, kind, created_at, created_by, source_bytes,
       imports, code, source_map, source)
     values ('scr-1', 1, 'endpoint', 2, null, 1, '["picloud"]', 'old', '{}', 'o'),
            ('scr-1', 2, 'endpoint', 3, 'acc-1', 1, '["picloud","labels"]', 'new', '{}', 'n'),
            ('scr-2', 1, 'module', 3, 'gone', 1, '[]', 'module', '{}', 'm')`,
    `insert into routes (id, app_id, script_id, path, path_kind, method, host, host_kind,
       host_param_name, dispatch_mode, created_at, created_by)
     values ('rou-1', 'app-1', 'scr-1', '/greet/:name', 'param', 'ANY', '', 'any', null, 'sync', 4, 'acc-1'),
            ('rou-2', 'app-1', 'scr-1', '/*', 'prefix', 'GET', 'example.com', 'wildcard', 'sub', 'async', 5, null)`,
    `insert into kv (app_id, collection, key, version, updated_at, value)
     values ('app-1', 'visits', 'home', 7, 6, '{"n":1,"text":"ä\\n"}'),
            ('app-1', 'visits', 'ключ', 9007199254740991, 6, 'null')`,
  ],
  2: [
    `insert into script_imports (script_id, app_id, name) values ('scr-2', 'app-1', 'later')`,
    `update kv set value = '[2]', version = 8 where key = 'home'`,
  ],
};
