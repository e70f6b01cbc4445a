-- Postgres plans by the size of a table's file, and a connection keeps its plans. One made while `tasks` was empty would read
-- the whole table for each claim, and do so still when a backlog of a million has come. So the file never looks small:
-- vacuum gives no pages back (which would also take a lock that stops everybody), and it begins with 128 of them.

ALTER TABLE tasks SET (vacuum_truncate = off);

INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, max_attempts, correlation_id,
                   timeout_seconds, reason)
SELECT gen_random_uuid(), '', '', 0, '{}', json_build_object('', repeat('.', 1700)), '{}', 'dead_letter', 1, '', 1, ''
  FROM generate_series(1, 384);

DELETE FROM tasks WHERE task_name = '' AND reason = '';
