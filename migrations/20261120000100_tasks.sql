-- What is still alive, one row a task. Finishing moves a row to finished_tasks; a dead letter stays here,
-- because somebody still has to act on it.

CREATE TYPE task_status AS ENUM (
    'waiting', 'scheduled', 'pending', 'running', 'retry_scheduled',
    'completed', 'dead_letter', 'cancelled', 'resolved_manually'
);

CREATE TABLE tasks (
    id                  uuid             PRIMARY KEY,
    task_name           text             NOT NULL,
    queue               text             NOT NULL,
    priority            smallint         NOT NULL,
    -- json, not jsonb: kept as the text that was sent, so numbers stay exact and the hot path parses nothing twice
    parameters          json             NOT NULL,
    metadata            json             NOT NULL,
    tags                text[]           NOT NULL,
    status              task_status      NOT NULL,
    runs                integer          NOT NULL DEFAULT 0,
    attempts            integer          NOT NULL DEFAULT 0,
    max_attempts        integer          NOT NULL,
    crash_count         integer          NOT NULL DEFAULT 0,
    worker_id           text,
    idempotency_key     text,
    request_fingerprint bytea,
    correlation_id      text             NOT NULL,
    traceparent         text,
    timeout_seconds     double precision NOT NULL,
    progress            json,
    error               text,
    reason              text,
    created_at          timestamptz      NOT NULL DEFAULT now(),
    enqueued_at         timestamptz,
    run_at              timestamptz,
    started_at          timestamptz,
    cancel_requested_at timestamptz,
    updated_at          timestamptz      NOT NULL DEFAULT now(),

    CONSTRAINT tasks_are_alive
        CHECK (status NOT IN ('completed', 'cancelled', 'resolved_manually')),
    CONSTRAINT running_means_a_worker_holds_it
        CHECK ((status = 'running') = (worker_id IS NOT NULL)),
    CONSTRAINT running_means_it_started
        CHECK (status <> 'running' OR (started_at IS NOT NULL AND runs > 0)),
    CONSTRAINT what_waits_has_not_started
        CHECK (status IN ('running', 'dead_letter') OR started_at IS NULL),
    CONSTRAINT only_running_tasks_are_told_to_stop
        CHECK (status = 'running' OR cancel_requested_at IS NULL),
    CONSTRAINT pending_means_it_was_enqueued
        CHECK (status <> 'pending' OR enqueued_at IS NOT NULL),
    CONSTRAINT what_is_due_later_says_when
        CHECK (status NOT IN ('scheduled', 'retry_scheduled') OR run_at IS NOT NULL),
    CONSTRAINT a_dead_letter_has_a_reason
        CHECK ((status = 'dead_letter') = (reason IS NOT NULL)),
    CONSTRAINT priority_in_range CHECK (priority BETWEEN -100 AND 100),
    CONSTRAINT counters_in_range
        CHECK (runs >= 0 AND attempts >= 0 AND crash_count >= 0 AND max_attempts BETWEEN 1 AND 101),
    CONSTRAINT timeout_in_range CHECK (timeout_seconds > 0 AND timeout_seconds <= 604800)
)
-- Rows live for seconds: vacuum early and without pauses, so that the table and its indexes stay small.
WITH (
    fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_analyze_threshold = 5000
);

-- One index a duty, each over the few rows that it is about.
CREATE INDEX tasks_pending ON tasks (queue, enqueued_at, id) WHERE status = 'pending';
CREATE INDEX tasks_running ON tasks (worker_id) WHERE status = 'running';
CREATE INDEX tasks_due ON tasks (run_at) WHERE status IN ('scheduled', 'retry_scheduled');
CREATE INDEX tasks_told_to_stop ON tasks (worker_id) WHERE cancel_requested_at IS NOT NULL;
CREATE INDEX tasks_dead_letters ON tasks (id) WHERE status = 'dead_letter';

COMMENT ON TABLE tasks IS 'Tasks that are alive, and dead letters';
COMMENT ON COLUMN tasks.runs IS 'Times a worker claimed it; never falls. With id and worker_id it names one run';
COMMENT ON COLUMN tasks.attempts IS 'Runs that the handler ended (success, failure, timeout); max_attempts limits it';
COMMENT ON COLUMN tasks.crash_count IS 'Runs lost together with their worker';
COMMENT ON COLUMN tasks.enqueued_at IS 'When its id was last put on the tail of its list';
COMMENT ON COLUMN tasks.run_at IS 'Not before; also when the next try is due';
