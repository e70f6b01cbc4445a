//! Finds what no statement leaves behind in workflows, and repairs it.
//!
//! Each change of a graph is one statement, so in any snapshot the number of edges that a join waits for
//! equals the number of edges that lead into it from live rows. A difference is a fault, whatever else runs
//! meanwhile. Workflows that are stopped are left alone: their steps are cancelled without following the
//! edges.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgExecutor};

use super::advance::{Advance, advanced_rows, answered};
use crate::{Error, Result, begin, commit};
use tasker_core::task::TaskId;

/// Maximum number of steps of the workflows that one statement checks, unless one alone has more.
const STEPS_MAX: i64 = 100_000;
/// Number of steps from which a workflow is checked only on demand.
const LARGE: i32 = 10_000;
/// Maximum number of orphans of each kind that one statement finds.
const ORPHANS_MAX: i64 = 1_000;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A join waits for another number of edges than lead into it.
    JoinCount,
    /// A step waits, and neither a join nor a live step leads to it.
    LostStep,
    /// A workflow is alive without a live step.
    NoSteps,
    /// The same, of a workflow that counts dead letters which do not exist.
    NoDeadLetters,
    /// A workflow counts another number of dead letters than it has.
    FailedCount,
    /// Joins whose workflow does not exist.
    OrphanJoins,
    /// Steps whose workflow does not exist.
    OrphanSteps,
}

impl Fault {
    /// Returns the value of the metrics' label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JoinCount => "join_count",
            Self::LostStep => "lost_step",
            Self::NoSteps => "no_steps",
            Self::NoDeadLetters => "no_dead_letters",
            Self::FailedCount => "failed_count",
            Self::OrphanJoins => "orphan_joins",
            Self::OrphanSteps => "orphan_steps",
        }
    }
}

/// The part of a round that one statement checks.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The workflow up to which the round has come; `None` at its beginning.
    pub after: Option<TaskId>,
    /// Maximum number of workflows.
    pub limit: i64,
    /// Whether workflows of more than 10,000 steps are checked too.
    pub large: bool,
}

/// The result of a check.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The faults: ids of joins, of steps, or of workflows, by kind.
    pub faults: BTreeMap<Fault, Vec<TaskId>>,
    /// The workflow up to which the round has come; `None` at its end.
    pub up_to: Option<TaskId>,
}

/// Reads one snapshot of the workflows of a window into the CTEs `taken`, `ends`, `alive`, `joins` and
/// `nodes`. `nodes` has a row for everything that edges lead to, and for every step that waits.
macro_rules! snapshot {
    ($rest:tt, $($argument:tt)*) => {
        sqlx::query!(
            r#"
            WITH RECURSIVE seen AS MATERIALIZED (
                SELECT id, failed, cancel_requested_at IS NOT NULL AS stopped, steps <= $3 OR $4 AS in_turn,
                       sum(CASE WHEN steps <= $3 OR $4 THEN steps ELSE 0 END) OVER (ORDER BY id) AS steps_so_far,
                       row_number() OVER (ORDER BY id) AS number
                  FROM (SELECT * FROM workflows WHERE id > $1 ORDER BY id LIMIT $2) AS w
            ), taken AS MATERIALIZED (
                SELECT * FROM seen WHERE steps_so_far <= $5 OR number = 1
            ), ends AS MATERIALIZED (
                -- past the last workflow, the round goes to the end of the ids
                SELECT CASE WHEN (SELECT count(*) FROM taken) = $2 OR (SELECT count(*) FROM taken) < (SELECT count(*) FROM seen)
                            THEN (SELECT id FROM taken ORDER BY id DESC LIMIT 1) END AS up_to
            ), alive AS MATERIALIZED (
                -- one look-up by the index per workflow, also if this was planned while the table was empty
                SELECT c.id AS workflow_id, t.id, t.waits, t.is_dead, t.targets, t.kinds
                  FROM taken c
                 CROSS JOIN LATERAL (
                           SELECT id, status = 'waiting' AND COALESCE(marks, 0) & 32 = 0 AS waits,
                                  status = 'dead_letter' AS is_dead, targets, kinds
                             FROM tasks
                            WHERE workflow_id = c.id
                           OFFSET 0
                       ) AS t
                 WHERE c.in_turn AND NOT c.stopped
            ), joins AS MATERIALIZED (
                SELECT c.id AS workflow_id, j.id, j.pending, j.targets, j.kinds
                  FROM taken c
                 CROSS JOIN LATERAL (SELECT * FROM step_joins WHERE workflow_id = c.id OFFSET 0) AS j
                 WHERE c.in_turn AND NOT c.stopped
            ), nodes AS MATERIALIZED (
                -- grouped rather than joined: a join of these could be planned as all with all
                SELECT workflow_id, id, sum(pending) AS pending, sum(arriving) AS arriving, bool_or(is_join) AS is_join,
                       bool_or(waits) AND NOT bool_or(led_to) AS lost
                  FROM (SELECT workflow_id, id, pending, 0 AS arriving, true AS is_join, false AS waits, false AS led_to
                          FROM joins
                         UNION ALL
                        SELECT workflow_id, id, 0, 0, false, true, false FROM alive WHERE waits
                         UNION ALL
                        SELECT workflow_id, u.target, 0, (u.kind & 112 = 32)::integer, false, false, u.kind & 112 = 16
                          FROM alive CROSS JOIN LATERAL UNNEST(targets, kinds) AS u(target, kind)
                         WHERE u.kind & 112 <> 64
                         UNION ALL
                        SELECT workflow_id, u.target, 0, 0, false, false, u.kind & 112 = 16
                          FROM joins CROSS JOIN LATERAL UNNEST(targets, kinds) AS u(target, kind)
                         WHERE u.kind & 112 <> 64
                       ) AS parts
                 GROUP BY workflow_id, id
            "# + $rest,
            $($argument)*
        )
    };
}

/// Checks the live workflows of `window`, and everything that claims to belong to a workflow of that range of
/// ids. Takes no locks.
pub async fn find(db: impl PgExecutor<'_>, window: Window) -> Result<Found> {
    let rows = snapshot!(
        r#"
        ), step_owners AS (
            -- each step is found by the owner before it, so the many steps of a workflow cost one look-up
            (SELECT workflow_id AS id FROM tasks WHERE workflow_id > $1 ORDER BY workflow_id LIMIT 1)
             UNION ALL
            SELECT (SELECT t.workflow_id FROM tasks t WHERE t.workflow_id > o.id ORDER BY t.workflow_id LIMIT 1)
              FROM step_owners o
             WHERE o.id <= COALESCE((SELECT up_to FROM ends), o.id)
        ), join_owners AS (
            (SELECT workflow_id AS id FROM step_joins WHERE workflow_id > $1 ORDER BY workflow_id LIMIT 1)
             UNION ALL
            SELECT (SELECT j.workflow_id FROM step_joins j WHERE j.workflow_id > o.id ORDER BY j.workflow_id LIMIT 1)
              FROM join_owners o
             WHERE o.id <= COALESCE((SELECT up_to FROM ends), o.id)
        )
        SELECT 0 AS "kind!", (SELECT up_to FROM ends) AS "id: TaskId"
         UNION ALL
        SELECT 1, id FROM nodes WHERE is_join AND pending <> arriving
         UNION ALL
        -- if a join is gone too early, its steps wait until those before it have ended
        SELECT 2, id
          FROM nodes
         WHERE lost AND workflow_id <> ALL (ARRAY (SELECT workflow_id FROM nodes WHERE NOT is_join AND arriving > 0))
         UNION ALL
        SELECT CASE WHEN bool_or(has_steps) THEN 7 WHEN sum(failed) > 0 THEN 4 ELSE 3 END, id
          FROM (SELECT id, failed, false AS has_steps FROM taken WHERE in_turn AND NOT stopped
                 UNION ALL
                SELECT workflow_id, -is_dead::integer, true FROM alive) AS steps
         GROUP BY id
        HAVING NOT bool_or(has_steps) OR sum(failed) <> 0
         UNION ALL
        (SELECT 5, o.id
           FROM join_owners o
          WHERE o.id <= COALESCE((SELECT up_to FROM ends), o.id)
            AND NOT EXISTS (SELECT FROM workflows w WHERE w.id = o.id OFFSET 0)
          LIMIT $6)
         UNION ALL
        (SELECT 6, o.id
           FROM step_owners o
          WHERE o.id <= COALESCE((SELECT up_to FROM ends), o.id)
            AND NOT EXISTS (SELECT FROM workflows w WHERE w.id = o.id OFFSET 0)
          LIMIT $6)
        "#,
        window.after.unwrap_or(TaskId::MIN) as _,
        window.limit,
        LARGE,
        window.large,
        STEPS_MAX,
        ORPHANS_MAX,
    )
    .fetch_all(db)
    .await?;
    let mut found = Found::default();
    for row in rows {
        let fault = match row.kind {
            0 => {
                found.up_to = row.id;
                continue;
            }
            1 => Fault::JoinCount,
            2 => Fault::LostStep,
            3 => Fault::NoSteps,
            4 => Fault::NoDeadLetters,
            5 => Fault::OrphanJoins,
            6 => Fault::OrphanSteps,
            _ => Fault::FailedCount,
        };
        found.faults.entry(fault).or_default().extend(row.id);
    }
    Ok(found)
}

/// Recounts the edges that these joins wait for, and opens those that wait for none. Joins of stopped
/// workflows are left alone. Returns the number of joins that were wrong, and what opening them made ready.
pub async fn recount(connection: &mut PgConnection, joins: &[TaskId]) -> Result<(usize, Advance)> {
    let mut transaction = begin(connection).await?;
    sqlx::query!(
        r#"
        WITH local AS MATERIALIZED (
            SELECT set_config('lock_timeout', '5s', true)
        )
        SELECT count(*) AS "locked!"
          FROM (SELECT i.id FROM local, UNNEST($1::uuid[]) AS i(id) ORDER BY id) AS i
         CROSS JOIN LATERAL (SELECT id FROM step_joins WHERE id = i.id FOR NO KEY UPDATE) AS j
        "#,
        joins as _,
    )
    .fetch_one(&mut *transaction)
    .await?;
    // a statement of its own, whose snapshot has what was committed before the locks were given
    let wrong = sqlx::query!(
        r#"
        WITH counted AS MATERIALIZED (
            SELECT j.id, e.arriving, LEAST(j.good + GREATEST(j.pending - e.arriving, 0), j.size) AS good
              FROM UNNEST($1::uuid[]) AS i(id)
             CROSS JOIN LATERAL (SELECT * FROM step_joins WHERE id = i.id OFFSET 0) AS j
             CROSS JOIN LATERAL (SELECT FROM workflows
                                  WHERE id = j.workflow_id AND cancel_requested_at IS NULL OFFSET 0) AS w
             CROSS JOIN LATERAL (
                       SELECT count(*)::integer AS arriving
                         FROM (SELECT targets, kinds FROM tasks WHERE workflow_id = j.workflow_id OFFSET 0) AS t
                        CROSS JOIN LATERAL UNNEST(t.targets, t.kinds) AS u(target, kind)
                        WHERE u.target = j.id AND u.kind & 112 = 32
                   ) AS e
             WHERE j.pending <> e.arriving
        )
        UPDATE step_joins j
           -- which edges were lost is not known; a step that would be skipped for them runs rather
           SET pending = c.arriving, good = c.good
          FROM counted c
         WHERE j.id = ANY (ARRAY (SELECT id FROM counted)) AND (j.id = c.id) IS TRUE
        RETURNING j.id AS "id: TaskId", c.arriving AS "arriving!"
        "#,
        joins as _,
    )
    .fetch_all(&mut *transaction)
    .await?;
    let empty: Vec<TaskId> = wrong
        .iter()
        .filter(|join| join.arriving == 0)
        .map(|join| join.id)
        .collect();
    let advance = reach(&mut *transaction, &empty, Target::Join).await?;
    commit(transaction).await?;
    Ok((wrong.len(), advance))
}

/// Recounts the dead letters of these workflows. Stopped ones are left alone. Returns the number of workflows
/// that were wrong.
pub async fn recount_failed(connection: &mut PgConnection, workflows: &[TaskId]) -> Result<usize> {
    let mut transaction = begin(connection).await?;
    sqlx::query!(
        r#"
        WITH local AS MATERIALIZED (
            SELECT set_config('lock_timeout', '5s', true)
        )
        SELECT count(*) AS "locked!"
          FROM (SELECT i.id FROM local, UNNEST($1::uuid[]) AS i(id) ORDER BY id) AS i
         CROSS JOIN LATERAL (SELECT id FROM workflows WHERE id = i.id FOR NO KEY UPDATE) AS w
        "#,
        workflows as _,
    )
    .fetch_one(&mut *transaction)
    .await?;
    let wrong = sqlx::query_scalar!(
        r#"
        WITH counted AS MATERIALIZED (
            SELECT w.id, w.status, w.failed, t.dead,
                   CASE WHEN t.dead > 0 THEN 'blocked_by_failures' ELSE 'steps_in_process' END::workflow_status AS next
              FROM UNNEST($1::uuid[]) AS i(id)
             CROSS JOIN LATERAL (SELECT * FROM workflows WHERE id = i.id AND cancel_requested_at IS NULL OFFSET 0) AS w
             CROSS JOIN LATERAL (
                       SELECT (count(*) FILTER (WHERE status = 'dead_letter'))::integer AS dead
                         FROM tasks
                        WHERE workflow_id = i.id
                   ) AS t
             WHERE w.failed <> t.dead
        ), changed AS (
            UPDATE workflows w
               SET failed = c.dead, status = c.next
              FROM counted c
             WHERE w.id = ANY (ARRAY (SELECT id FROM counted)) AND (w.id = c.id) IS TRUE
        ), noted AS (
            INSERT INTO workflow_events (workflow_id, from_status, to_status, reason)
            SELECT id, status, next, 'repaired' FROM counted WHERE status <> next
        )
        SELECT count(*) AS "count!" FROM counted
        "#,
        workflows as _,
    )
    .fetch_one(&mut *transaction)
    .await?;
    commit(transaction).await?;
    Ok(usize::try_from(wrong).unwrap_or_default())
}

/// A place that an edge leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A step that waits.
    Step,
    /// A join; it opens if it waits for no edge.
    Join,
    /// The end of a workflow.
    End,
}

/// Does what an edge does that leads to each of `targets`, without counting as one: makes steps ready, opens
/// joins that wait for no edge, ends workflows. Targets that are gone or no longer wait are left alone.
pub async fn reach(db: impl PgExecutor<'_>, targets: &[TaskId], target: Target) -> Result<Advance> {
    let leads_to: i32 = match target {
        Target::Step => 16,
        Target::Join => 32,
        Target::End => 64,
    };
    let rows = advanced_rows!(
        [r#"
                SELECT t.id, t.task_name, t.queue, t.status AS from_status, t.runs, t.worker_id, t.started_at,
                       t.enqueued_at, t.attempts, t.crash_count, t.status AS next,
                       NULL::double precision AS retry_seconds, NULL::text AS dead_reason, NULL::integer AS attempt,
                       NULL::text AS reason, NULL::text AS error, NULL::text AS actor, NULL::text AS result,
                       NULL::text AS report, t.workflow_id, t.targets, t.kinds
                  FROM local CROSS JOIN tasks t
                 WHERE false
        "#],
        hits: [r#"
                 UNION ALL
                SELECT id, $2::integer, 0, ($2 = 16)::integer FROM UNNEST($1::uuid[]) AS r(id)
        "#],
        targets as _,
        leads_to,
    )
    .fetch_all(db);
    answered(rows).await
}

/// Deletes up to `limit` joins of workflows that do not exist; returns their number.
pub async fn delete_orphan_joins(db: impl PgExecutor<'_>, workflows: &[TaskId], limit: i64) -> Result<u64> {
    sqlx::query!(
        r#"
        WITH orphans AS MATERIALIZED (
            SELECT j.id
              FROM UNNEST($1::uuid[]) AS i(id)
             CROSS JOIN LATERAL (SELECT * FROM step_joins WHERE workflow_id = i.id OFFSET 0) AS j
             WHERE NOT EXISTS (SELECT FROM workflows w WHERE w.id = i.id OFFSET 0)
             LIMIT $2
        )
        DELETE FROM step_joins WHERE id = ANY (ARRAY (SELECT id FROM orphans))
        "#,
        workflows as _,
        limit,
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(Error::from)
}
