-- One row for each task, inserted by the API and updated by the workers.
CREATE TABLE tasks (
    id           uuid        PRIMARY KEY,
    task_name    text        NOT NULL,
    parameters   jsonb       NOT NULL,
    status       text        NOT NULL DEFAULT 'pending',
    result       jsonb,
    error        text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at   timestamptz,
    completed_at timestamptz
);

-- for listing open tasks, as a real service would
CREATE INDEX tasks_open ON tasks (created_at) WHERE status <> 'completed';
