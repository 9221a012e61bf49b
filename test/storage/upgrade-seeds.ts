/**
 * Rows of every age: what a PiCloud of schema 1, 2, … could have written. A new migration appends
 * the rows of its own tables here; the upgrade tests fail until every table has some.
 */

const seedRetry =
  '{"max_attempts":5,"backoff":"exponential","base_ms":1000,"max_ms":300000,"jitter":0.2}';

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
  3: [
    `update kv set expires_at = 1900000000000 where key = 'ключ'`,
    `insert into triggers (id, app_id, script_id, kind, is_enabled, collection, on_insert, on_update,
       on_delete, expression, timezone, overlap, next_at, last_at, retry, registered_by, created_at,
       updated_at)
     values ('tri-1', 'app-1', 'scr-1', 'kv', 1, 'visits*', 1, 0, 1, null, null, null, null, null,
         '${seedRetry}', 'acc-1', 7, 8),
       ('tri-2', 'app-1', 'scr-1', 'cron', 1, null, 0, 0, 0, '0 0 3 * * *', 'Europe/Berlin', 'skip',
         1800000000000, 1700000000000, '${seedRetry}', null, 7, 8),
       ('tri-3', 'app-1', 'scr-1', 'dead_letter', 0, null, 0, 0, 0, null, null, null, null, null, null,
         'acc-1', 7, 8)`,
    `insert into outbox (event_id, trigger_id, app_id, script_id, source, type, depth,
       root_execution_id, created_at, due_at, attempt, attempt_base, crashes, lease_owner, fence, retry,
       dead_letter_id, payload)
     values ('eve-1', 'tri-1', 'app-1', 'scr-1', 'kv', 'insert', 0, 'exe-1', 9, 0, 0, 0, 0, null, 0,
         '${seedRetry}', null, '{"collection":"visits","key":"ä","value":1,"previous":null}'),
       ('eve-2', 'tri-1', 'app-1', 'scr-1', 'kv', 'delete', 8, 'exe-1', 9, 1800000000000, 2, 0, 1,
         'holder', 3, '${seedRetry}', null, '{}'),
       ('exe-2', '', 'app-1', 'scr-1', 'route', 'fire', 0, 'exe-2', 9, 0, 0, 0, 0, null, 0, null, null,
         '{"method":"POST"}')`,
    `insert into event_attempts (event_id, trigger_id, number, app_id, execution_id, status, error,
       started_at, duration_ms)
     values ('eve-2', 'tri-1', 1, 'app-1', 'exe-3', 'timeout', null, 10, 0.5),
       ('eve-2', 'tri-1', 2, 'app-1', 'exe-4', 'error',
         '{"status":"error","code":null,"message":"boom"}', 11, 12)`,
    `insert into tx_results (event_id, trigger_id, ordinal, app_id, result)
     values ('eve-2', 'tri-1', 1, 'app-1', '{"ok":true}')`,
    `insert into dead_letters (id, app_id, event_id, trigger_id, script_id, source, type, state,
       attempts, error, depth, root_execution_id, event_at, created_at, updated_at, resolved_by, note,
       retry, payload)
     values ('let-1', 'app-1', 'eve-3', 'tri-1', 'scr-1', 'kv', 'update', 'open', 5,
         '{"status":"sandbox_lost","code":"sandbox_lost","message":"lost"}', 0, 'exe-5', 9, 12, 12, null,
         null, '${seedRetry}', '{"value":[1,null,"ü"]}'),
       ('let-2', 'app-1', 'eve-4', 'tri-2', 'scr-1', 'cron', 'fire', 'resolved', 1,
         '{"status":"error","code":null,"message":"x"}', 0, 'eve-4', 9, 13, 14, 'acc-1', 'known', null,
         '{}')`,
    `insert into async_executions (id, app_id, script_id, token_hash, status, attempts, status_code,
       created_at, finished_at, response)
     values ('exe-2', 'app-1', 'scr-1', '${"a1".repeat(32)}', 'pending', 0, null, 9, null, null),
       ('exe-6', 'app-1', 'scr-1', '${"b2".repeat(32)}', 'success', 1, 200, 9, 10,
         '{"headers":{},"body":"{}","truncated":false}')`,
  ],
  4: [
    `insert into docs (app_id, collection, id, version, updated_at, value)
     values ('app-1', 'people', 'ada', 3, 15, '{"id":"ada","tags":["a","ü"],"n":1e308}'),
       ('app-1', 'people', '😀', 1, 15, '{"id":"😀","text":"\\u0000"}')`,
    `insert into doc_indexes (app_id, collection, field, state, built_to, multikey, created_at)
     values ('app-1', 'people', 'tags', 'ready', '😀', 1, 16),
       ('app-1', 'people', 'n', 'building', 'ada', 0, 16)`,
    `insert into doc_index_entries (app_id, collection, field, type, number, text, doc_id)
     values ('app-1', 'people', 'tags', 2, 0, 'a', 'ada'), ('app-1', 'people', 'tags', 2, 0, 'ü', 'ada'),
       ('app-1', 'people', 'tags', 0, 0, '', '😀'),
       ('app-1', 'people', 'n', 1, 9007199254740991, 'ffe1ccf385ebc8a0', 'ada')`,
  ],
  5: [
    `update sessions set address = '2001:db8::1', user_agent = 'ein Browser, "ü"'`,
    `insert into accounts (id, username, password_hash, role, is_active, created_at, nominated_role,
       nominated_by, nominated_at)
     values ('acc-2', 'grace', '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA', 'member', 1, 17, 'admin',
         'acc-1', 18),
       ('acc-3', 'linus', '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA', 'admin', 0, 17, null, null, null)`,
    `insert into app_members (app_id, account_id, role, created_at, created_by)
     values ('app-1', 'acc-2', 'editor', 19, 'acc-1'), ('app-1', 'acc-3', 'admin', 19, null)`,
    `insert into api_keys (id, account_id, app_id, name, prefix, secret_hash, scopes, created_at,
       expires_at, last_used_at)
     values ('key-1', 'acc-2', 'app-1', 'Schlüssel', 'abcdefg2', '${"c3".repeat(32)}',
         '["route:write","script:write"]', 20, 1900000000000, 1700000000000),
       ('key-2', 'acc-1', null, 'everything', 'zyxwvut7', '${"d4".repeat(32)}',
         '["instance:admin"]', 20, null, null)`,
    `insert into app_hosts (host, app_id, created_at, created_by)
     values ('blog.home.lan', 'app-1', 21, 'acc-1'), ('*.xn--bcher-kva.lan', 'app-1', 21, null)`,
    `insert into audit (id, at, actor_id, actor_name, credential, address, request_id, action,
       target_kind, target_id, target_name, app_id, detail)
     values ('aud-1', 22, 'acc-1', 'ada', 'session', '192.168.1.20', 'req-1', 'member.put', 'account',
         'acc-2', 'grace', 'app-1', '{"old_role":null,"new_role":"editor"}'),
       ('aud-2', 23, null, '', 'system', '', '', 'account.delete', 'account', 'gone', 'Größe', null, '{}')`,
  ],
};
