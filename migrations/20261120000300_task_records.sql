-- Both tables as one record: read through this view, a task that moves meanwhile is seen exactly once.
-- `ends` is completed_at, or infinity while the task is alive: a reader bounds it from below by the time in the id
-- less a day, and Postgres leaves out the partitions before.

CREATE VIEW task_records AS
SELECT id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
       crash_count, worker_id, idempotency_key, correlation_id, traceparent, timeout_seconds, progress, error, reason,
       created_at, enqueued_at, run_at, started_at, updated_at,
       NULL::json AS result, NULL::timestamptz AS completed_at, 'infinity'::timestamptz AS ends, false AS finished
  FROM tasks
UNION ALL
SELECT id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
       crash_count, worker_id, idempotency_key, correlation_id, traceparent, timeout_seconds, progress, error, reason,
       created_at, enqueued_at, run_at, started_at, updated_at,
       result, completed_at, completed_at AS ends, true AS finished
  FROM finished_tasks;
