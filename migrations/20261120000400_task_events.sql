-- The audit trail: every attempt that was not the last, and every operator's action. The happy path writes nothing
-- here, since the task's own row tells it.

CREATE TABLE task_events (
    task_id     uuid        NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    from_status task_status,
    to_status   task_status NOT NULL,
    run         integer,
    attempt     integer,
    worker_id   text,
    reason      text,
    error       text,
    actor       text,
    -- when the run that this event ended was enqueued and claimed
    enqueued_at timestamptz,
    started_at  timestamptz
) PARTITION BY RANGE (at);

CREATE INDEX task_events_of_a_task ON task_events (task_id, at);

SELECT ensure_day_partitions('task_events', 14);
