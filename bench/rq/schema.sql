-- A row per task, which the API and the workers keep up to date.
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

-- what a list of open tasks would be read from
CREATE INDEX tasks_open ON tasks (created_at) WHERE status <> 'completed';
