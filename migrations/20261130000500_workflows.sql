-- Workflows: their steps are rows of `tasks` that wait for their parents. The statement that ends a step also makes its children
-- ready (docs/adr/0011-workflows-advance-by-the-ending-statement.md).

CREATE TYPE workflow_status AS ENUM (
    'pending', 'steps_in_process', 'blocked_by_failures', 'complete', 'error', 'cancelled', 'resolved_manually'
);

-- Definitions are stored once, by the hash of their content: what a workflow was started with never changes under it.
CREATE TABLE workflow_definitions (
    hash         bytea       PRIMARY KEY,
    definition   json        NOT NULL,
    last_used_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT hash_is_a_sha256 CHECK (octet_length(hash) = 32)
);

-- Live workflows. A step that ends well never touches this row.
CREATE TABLE workflows (
    id                  uuid            PRIMARY KEY,
    namespace           text            NOT NULL,
    name                text            NOT NULL,
    version             text            NOT NULL,
    definition_hash     bytea           NOT NULL,
    context             json            NOT NULL,
    status              workflow_status NOT NULL DEFAULT 'steps_in_process',
    steps               integer         NOT NULL,
    -- dead letters that block it
    failed              integer         NOT NULL DEFAULT 0,
    -- whether the first of them ends it
    gives_up            boolean         NOT NULL DEFAULT false,
    priority            smallint        NOT NULL,
    queues              text[]          NOT NULL,
    tags                text[]          NOT NULL,
    correlation_id      text            NOT NULL,
    traceparent         text,
    idempotency_key     text,
    root_id             uuid            NOT NULL,
    parent_step         uuid,
    created_at          timestamptz     NOT NULL DEFAULT now(),
    deadline_at         timestamptz,
    paused_at           timestamptz,
    cancel_requested_at timestamptz,
    -- the state that it ends in once all its steps have ended; set with the request to stop it
    ends_as             workflow_status,
    -- why it is stopped, and who asked
    reason              text,
    actor               text,

    CONSTRAINT workflows_are_alive CHECK (status IN ('pending', 'steps_in_process', 'blocked_by_failures')),
    CONSTRAINT stopped_means_it_has_an_end
        CHECK ((cancel_requested_at IS NULL) = (ends_as IS NULL)
               AND (ends_as IS NULL OR ends_as IN ('error', 'cancelled', 'resolved_manually')))
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);

-- Nearly always empty: claims look here.
CREATE INDEX workflows_held ON workflows (id) WHERE paused_at IS NOT NULL OR cancel_requested_at IS NOT NULL;
CREATE INDEX workflows_by_deadline ON workflows (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX workflows_by_root ON workflows (root_id);

CREATE TABLE finished_workflows (
    LIKE workflows INCLUDING DEFAULTS,
    output      json,
    finished_at timestamptz NOT NULL,
    PRIMARY KEY (id, finished_at),
    CONSTRAINT finished_workflows_are_over
        CHECK (status IN ('complete', 'error', 'cancelled', 'resolved_manually'))
) PARTITION BY RANGE (finished_at);

-- How many edges still have to arrive where several meet; the end of a workflow with several last steps is one of them.
CREATE TABLE step_joins (
    id          uuid       PRIMARY KEY,
    workflow_id uuid       NOT NULL,
    size        integer    NOT NULL,
    pending     integer    NOT NULL,
    -- how many of the edges that arrived came from a parent that ended well
    good        integer    NOT NULL DEFAULT 0,
    -- 0: the target is skipped if no parent ended well; 1: if any did not
    rule        smallint   NOT NULL DEFAULT 0,
    targets     uuid[]     NOT NULL,
    kinds       smallint[] NOT NULL,

    CONSTRAINT join_edges_have_kinds CHECK (cardinality(targets) = cardinality(kinds))
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);

-- `pending` is in no index, so counting down stays within the page.
CREATE INDEX step_joins_of_a_workflow ON step_joins (workflow_id);

-- What changed a workflow as a whole; what happened to a step is in task_events.
CREATE TABLE workflow_events (
    workflow_id uuid        NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    from_status workflow_status,
    to_status   workflow_status NOT NULL,
    step        text,
    reason      text,
    actor       text
) PARTITION BY RANGE (at);

CREATE INDEX workflow_events_of_a_workflow ON workflow_events (workflow_id, at);

CREATE TABLE workflow_keys (
    namespace       text        NOT NULL,
    name            text        NOT NULL,
    idempotency_key text        NOT NULL,
    workflow_id     uuid        NOT NULL,
    fingerprint     bytea       NOT NULL,
    expires_at      timestamptz NOT NULL,

    PRIMARY KEY (namespace, name, idempotency_key),
    CONSTRAINT fingerprint_is_a_sha256 CHECK (octet_length(fingerprint) = 32)
);

CREATE INDEX workflow_keys_by_expiry ON workflow_keys (expires_at);

SELECT ensure_day_partitions('finished_workflows', 14);
SELECT ensure_day_partitions('workflow_events', 14);

-- Plans that were made while a table was empty read it whole (see the migration that keeps `tasks` wide), so these begin wide.
INSERT INTO workflows (id, namespace, name, version, definition_hash, context, steps, priority, queues, tags, correlation_id, root_id)
SELECT gen_random_uuid(), '', '', '', '', json_build_object('', repeat('.', 1700)), 0, 0, '{}', '{}', '', gen_random_uuid()
  FROM generate_series(1, 384);
DELETE FROM workflows WHERE name = '';
INSERT INTO step_joins (id, workflow_id, size, pending, targets, kinds)
SELECT gen_random_uuid(), gen_random_uuid(), 0, 0, array_fill(gen_random_uuid(), ARRAY[100]), array_fill(0::smallint, ARRAY[100])
  FROM generate_series(1, 384);
DELETE FROM step_joins WHERE size = 0;

-- Last, since these locks stop every statement about tasks until the end of this migration.
--
-- An edge is an entry of two arrays on the parent's row, so the row that is deleted when the parent ends brings its edges along.
-- All columns are NULL for plain tasks, whose header stays as long as it was.
ALTER TABLE tasks
    ADD workflow_id uuid,
    ADD step        text,
    ADD item        integer,
    ADD targets     uuid[],
    ADD kinds       smallint[],
    ADD marks       smallint,
    ADD options     json;

COMMENT ON COLUMN tasks.workflow_id IS 'The workflow that it is a step of; NULL for a plain task';
COMMENT ON COLUMN tasks.step IS 'Its name in the workflow';
COMMENT ON COLUMN tasks.targets IS 'Where its edges lead: to a task, to a row of step_joins, or to the end of the workflow';
COMMENT ON COLUMN tasks.kinds IS 'For each target: bits 0 and 1 are the policy (0 fail, 1 continue, 2 skip, 3 only), 16 a task, 32 a join, 64 the end';
COMMENT ON COLUMN tasks.marks IS 'Bits: 1 is skipped instead of being run; 4 was made ready by its parents; 32 all its parents have ended, to be skipped now';
COMMENT ON COLUMN tasks.options IS 'How its inputs are made, if not by default';

ALTER TABLE finished_tasks
    ADD workflow_id uuid,
    ADD step        text,
    ADD item        integer,
    ADD targets     uuid[],
    ADD kinds       smallint[],
    ADD marks       smallint;

-- NOT VALID: nothing that is there violates them, and reading all of it would hold up every completion.
ALTER TABLE tasks
    DROP CONSTRAINT tasks_are_alive,
    ADD CONSTRAINT tasks_are_alive
        CHECK (status NOT IN ('completed', 'cancelled', 'resolved_manually', 'skipped')) NOT VALID,
    ADD CONSTRAINT step_belongs_to_a_workflow
        CHECK ((workflow_id IS NULL) = (step IS NULL) AND (workflow_id IS NULL) = (targets IS NULL)
               AND (status <> 'waiting' OR workflow_id IS NOT NULL)) NOT VALID,
    ADD CONSTRAINT step_edges_have_kinds
        CHECK (targets IS NULL OR cardinality(targets) = cardinality(kinds)) NOT VALID;
ALTER TABLE finished_tasks
    DROP CONSTRAINT finished_tasks_are_over,
    ADD CONSTRAINT finished_tasks_are_over
        CHECK (status IN ('completed', 'cancelled', 'resolved_manually')
               OR (workflow_id IS NOT NULL AND status IN ('skipped', 'dead_letter'))) NOT VALID;

-- On the parent alone, so that new partitions have it. Those that exist get it in the background: building it here would hold up
-- every completion while the largest table is read.
CREATE INDEX finished_steps ON ONLY finished_tasks (workflow_id, step, item) WHERE workflow_id IS NOT NULL;

-- Processes from before this change know no steps and would end one without advancing its workflow. They show themselves by
-- the protocol that they do not write.
ALTER TABLE workers ADD protocol smallint NOT NULL DEFAULT 1;
ALTER TABLE leader_lease ADD protocol_term bigint NOT NULL DEFAULT -1;
COMMENT ON COLUMN workers.protocol IS 'Which statements its binary knows: 1 plain tasks, 2 steps of workflows too';
COMMENT ON COLUMN leader_lease.protocol_term IS 'The last term whose holder knows steps of workflows';

-- The last guard: a statement that deletes a step and does not advance its workflow fails, so its edges are not lost.
CREATE FUNCTION refuse_to_lose_a_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a step of a workflow ends only together with its edges'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'step_ends_with_its_edges', TABLE = 'tasks';
END
$$;
CREATE TRIGGER step_ends_with_its_edges
    AFTER DELETE ON tasks FOR EACH ROW
    WHEN (OLD.workflow_id IS NOT NULL AND current_setting('tasker.advance', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION refuse_to_lose_a_step();

-- Roles that may end tasks without owning the tables advance workflows from now on.
DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN
        SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END
          FROM pg_class c, aclexplode(c.relacl) AS acl
         WHERE c.oid = 'finished_tasks'::regclass AND acl.privilege_type = 'INSERT' AND acl.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT SELECT, UPDATE, DELETE ON workflows, step_joins TO %s', role_name);
        EXECUTE format('GRANT INSERT ON finished_workflows, workflow_events TO %s', role_name);
    END LOOP;
END
$$;

CREATE OR REPLACE VIEW task_records AS
SELECT id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
       crash_count, worker_id, idempotency_key, correlation_id, traceparent, timeout_seconds, progress, error, reason,
       created_at, enqueued_at, run_at, started_at, updated_at,
       NULL::json AS result, NULL::timestamptz AS completed_at, 'infinity'::timestamptz AS ends, false AS finished,
       workflow_id, step, item
  FROM tasks
UNION ALL
SELECT id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
       crash_count, worker_id, idempotency_key, correlation_id, traceparent, timeout_seconds, progress, error, reason,
       created_at, enqueued_at, run_at, started_at, updated_at,
       result, completed_at, completed_at AS ends, true AS finished,
       workflow_id, step, item
  FROM finished_tasks;
