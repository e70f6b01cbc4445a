-- Tasks and workers under the names of columns that scripts and dashboards of other task systems use.

-- Creates the schema `orchestrator` and its views unless they exist. Returns false, with a notice, if the role lacks
-- the right to: the views are for people with psql, and no process of Tasker reads them.
CREATE FUNCTION create_orchestrator_views() RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    -- IF NOT EXISTS would ask for the right to create schemas even where an administrator has created this one
    IF to_regnamespace('orchestrator') IS NULL THEN
        CREATE SCHEMA orchestrator;
    END IF;

    -- from the tables, not from task_records: later migrations replace that view
    IF to_regclass('orchestrator.tasks') IS NULL THEN
        CREATE VIEW orchestrator.tasks AS
        SELECT id, task_name AS type, parameters AS payload, status::text AS status, priority, idempotency_key,
               worker_id, created_at, started_at AS claimed_at, started_at, NULL::timestamptz AS completed_at, updated_at,
               attempts, max_attempts - 1 AS max_retries, error AS last_error,
               CASE WHEN status = 'retry_scheduled' THEN run_at END AS next_retry_at
          FROM tasks
        UNION ALL
        SELECT id, task_name, parameters, status::text, priority, idempotency_key, worker_id,
               created_at, started_at, started_at, completed_at, updated_at,
               attempts, max_attempts - 1, error,
               NULL
          FROM finished_tasks;
        COMMENT ON VIEW orchestrator.tasks IS
            'All tasks, alive and finished; claiming a task starts it, so claimed_at is started_at';
    END IF;

    IF to_regclass('orchestrator.workers') IS NULL THEN
        CREATE VIEW orchestrator.workers AS
        SELECT id, hostname, started_at, last_heartbeat, pool_size, version,
               false AS is_leader, NULL::timestamptz AS leader_until
          FROM workers
        UNION ALL
        -- the lease names its server as server-HOST-PID-UUID
        SELECT holder, substring(holder FROM '^server-(.+)-\d+-[0-9a-f-]{36}$'), NULL, NULL, 0, NULL,
               true, expires_at
          FROM leader_lease
         WHERE holder IS NOT NULL AND expires_at > now();
        COMMENT ON VIEW orchestrator.workers IS
            'The workers, and the server that leads: workers never lead, and a server runs no tasks';
    END IF;
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'no views orchestrator.tasks and orchestrator.workers: %', SQLERRM;
    RETURN false;
END
$$;

COMMENT ON FUNCTION create_orchestrator_views() IS
    'Creates the views orchestrator.tasks and orchestrator.workers unless they exist; false if the role may not';

SELECT create_orchestrator_views();
