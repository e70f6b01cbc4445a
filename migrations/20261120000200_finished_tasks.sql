-- Where tasks end: append-only, a partition a day, so that retention drops a table and never deletes a row.

CREATE TABLE finished_tasks (
    id                  uuid             NOT NULL,
    task_name           text             NOT NULL,
    queue               text             NOT NULL,
    priority            smallint         NOT NULL,
    parameters          json             NOT NULL,
    metadata            json             NOT NULL,
    tags                text[]           NOT NULL,
    status              task_status      NOT NULL,
    runs                integer          NOT NULL,
    attempts            integer          NOT NULL,
    max_attempts        integer          NOT NULL,
    crash_count         integer          NOT NULL,
    worker_id           text,
    idempotency_key     text,
    request_fingerprint bytea,
    correlation_id      text             NOT NULL,
    traceparent         text,
    timeout_seconds     double precision NOT NULL,
    progress            json,
    error               text,
    reason              text,
    created_at          timestamptz      NOT NULL,
    enqueued_at         timestamptz,
    run_at              timestamptz,
    started_at          timestamptz,
    updated_at          timestamptz      NOT NULL,
    result              json,
    completed_at        timestamptz      NOT NULL,

    PRIMARY KEY (id, completed_at),
    CONSTRAINT finished_tasks_are_over
        CHECK (status IN ('completed', 'cancelled', 'resolved_manually')),
    CONSTRAINT completed_means_a_worker_ran_it
        CHECK (status <> 'completed' OR (worker_id IS NOT NULL AND started_at IS NOT NULL AND attempts > 0))
) PARTITION BY RANGE (completed_at);

COMMENT ON TABLE finished_tasks IS 'Tasks that ended, with their results; a partition a day (UTC) of completed_at';

-- Makes the partitions of `parent` from yesterday to `days_ahead` days from now, and returns how many were missing.
-- Each is created first and attached then, which blocks neither readers nor writers of the parent; a lock that
-- cannot be had within two seconds is an error, and the next call makes up for it. There is no default partition:
-- one would forbid DETACH CONCURRENTLY, and a stray row in it would block its day.
CREATE FUNCTION ensure_day_partitions(parent regclass, days_ahead integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    first_day date := (now() AT TIME ZONE 'UTC')::date - 1;
    child text;
    made integer := 0;
BEGIN
    PERFORM set_config('lock_timeout', '2s', true);
    -- two callers at once: the second waits here, then finds nothing left to make
    PERFORM pg_advisory_xact_lock(hashtextextended('ensure_day_partitions ' || parent::text, 0));
    FOR day IN 0 .. days_ahead + 1 LOOP
        child := format('%s_%s', parent::text, to_char(first_day + day, 'YYYYMMDD'));
        CONTINUE WHEN to_regclass(quote_ident(child)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING ALL)', child, parent);
        EXECUTE format(
            'ALTER TABLE %s ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
            (first_day + day)::timestamp AT TIME ZONE 'UTC', (first_day + day + 1)::timestamp AT TIME ZONE 'UTC');
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

SELECT ensure_day_partitions('finished_tasks', 14);
