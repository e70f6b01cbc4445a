-- How many tasks of which type and queue came and how they ended, by day, so that nobody ever counts the history.
--
-- Each statement that lets tasks begin or end appends what it did as deltas, in the same transaction: so the totals are exact
-- whatever crashes, and no two statements wait for one row. The leader folds the deltas into the totals now and then; a reader
-- adds up both. Who appends what is told by `shared/store/src/totals.rs`.

CREATE TABLE task_totals (
    day       date   NOT NULL,
    task_name text   NOT NULL,
    queue     text   NOT NULL,
    event     text   NOT NULL,
    tasks     bigint NOT NULL,

    PRIMARY KEY (day, task_name, queue, event)
);

COMMENT ON TABLE task_totals IS 'How many tasks did what on which day (UTC), without what task_total_deltas still holds';

-- No index and no check: every batch of ends pays for what is here. Rows live for a minute; their pages are kept for those that
-- follow, since giving them back takes a lock that every batch would wait for; the leader does so when they have become many.
CREATE TABLE task_total_deltas (
    day       date   NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    task_name text   NOT NULL,
    queue     text   NOT NULL,
    event     text   NOT NULL,
    tasks     bigint NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);

COMMENT ON TABLE task_total_deltas IS 'What batches added to task_totals and the leader has not folded in yet';

-- Roles that may end tasks without owning the tables have to append here from now on.
DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN
        SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END
          FROM pg_class c, aclexplode(c.relacl) AS acl
         WHERE c.oid = 'finished_tasks'::regclass AND acl.privilege_type = 'INSERT' AND acl.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT INSERT ON task_total_deltas TO %s', role_name);
    END LOOP;
END
$$;
