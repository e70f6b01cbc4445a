//! Stops workflows: marks them, then cancels their steps in passes, then ends them.
//!
//! Claims take no step of a marked workflow, so nothing new starts while the passes go on. A pass skips rows
//! that another statement has locked; passes go on until a look without locks finds every step stopped or
//! told.

use sqlx::PgExecutor;

use crate::{Error, Result};
use tasker_core::task::{Hint, QueueName, TaskId};

/// How a workflow that is stopped ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndsAs {
    /// It was cancelled.
    Cancelled,
    /// It was given up, or its deadline passed.
    Error,
    /// An operator says that what it was for has been done.
    ResolvedManually,
}

impl EndsAs {
    /// Returns the name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Error => "error",
            Self::ResolvedManually => "resolved_manually",
        }
    }
}

/// Marks a live workflow as stopped, and every workflow below it. Returns false if it is not alive. One that
/// is already marked keeps its first mark.
pub async fn mark(
    db: impl PgExecutor<'_>,
    workflow: TaskId,
    ends_as: EndsAs,
    reason: &str,
    actor: Option<&str>,
) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"
        WITH found AS MATERIALIZED (
            SELECT id FROM workflows WHERE id = $1 OR root_id = $1 ORDER BY id FOR NO KEY UPDATE
        ), marked AS (
            UPDATE workflows w
               SET cancel_requested_at = now(), ends_as = $2::text::workflow_status, reason = $3, actor = $4
             WHERE id = ANY (ARRAY (SELECT id FROM found)) AND cancel_requested_at IS NULL
            RETURNING id, status
        ), noted AS (
            INSERT INTO workflow_events (workflow_id, from_status, to_status, reason, actor)
            SELECT id, status, status, $3, $4 FROM marked
        )
        SELECT count(*) AS "count!" FROM found
        "#,
        workflow.0,
        ends_as.as_str(),
        reason,
        actor,
    )
    .fetch_one(db)
    .await?;
    Ok(found > 0)
}

/// The result of one pass over the steps of a stopped workflow.
#[derive(Debug, Clone, Default)]
pub struct Pass {
    /// Hints of steps that were pending, for the caller to remove.
    pub hints: Vec<Hint>,
    /// Steps that are cancelled now.
    pub cancelled: i64,
    /// Running steps that were asked to stop.
    pub told: i64,
    /// Their ids, for the caller to tell their workers.
    pub running: Vec<TaskId>,
    /// Dead letters that were moved as they are.
    pub dead_letters: i64,
}

/// Cancels up to `limit` steps of a stopped workflow: those that do not run are cancelled, running ones are
/// asked to stop, dead letters move to `finished_tasks` as they are. Locked rows are left for the next pass.
/// Steps of a workflow that does not exist are cancelled too.
pub async fn sweep(db: impl PgExecutor<'_>, workflow: TaskId, limit: i64) -> Result<Pass> {
    let rows = sqlx::query!(
        r#"
        WITH local AS MATERIALIZED (
            SELECT set_config('tasker.advance', 'on', true)
        ), found AS MATERIALIZED (
            SELECT t.id, t.status, t.queue, t.task_name, t.runs, t.worker_id, t.started_at, t.enqueued_at
              FROM local
             CROSS JOIN LATERAL (
                       SELECT *
                         FROM tasks
                        WHERE workflow_id = $1 AND (status <> 'running' OR cancel_requested_at IS NULL)
                          AND NOT EXISTS (SELECT FROM workflows w WHERE w.id = $1 AND w.cancel_requested_at IS NULL)
                        ORDER BY id
                        LIMIT $2
                          FOR NO KEY UPDATE SKIP LOCKED
                   ) AS t
        ), told AS (
            -- every column that a check ties to the status: see `cancel`
            UPDATE tasks t
               SET cancel_requested_at = now(), updated_at = now(), status = f.status, runs = f.runs,
                   worker_id = f.worker_id, started_at = f.started_at, reason = NULL
              FROM found f
             WHERE t.id = ANY (ARRAY (SELECT id FROM found WHERE status = 'running')) AND (t.id = f.id) IS TRUE
        ), gone AS (
            DELETE FROM tasks WHERE id = ANY (ARRAY (SELECT id FROM found WHERE status <> 'running'))
            RETURNING *
        ), moved AS (
            INSERT INTO finished_tasks
                   (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
                    crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id, traceparent,
                    timeout_seconds, progress, error, reason, created_at, enqueued_at, run_at, started_at, updated_at,
                    completed_at, workflow_id, step, item, marks)
            SELECT id, task_name, queue, priority, parameters, metadata, tags,
                   CASE WHEN status = 'dead_letter' THEN 'dead_letter' ELSE 'cancelled' END::task_status, runs, attempts,
                   max_attempts, crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id, traceparent,
                   timeout_seconds, progress, error, reason, created_at, enqueued_at, run_at, started_at, now(), now(),
                   workflow_id, step, item, marks
              FROM gone
        ), counted AS (
            INSERT INTO task_total_deltas (task_name, queue, event, tasks)
            SELECT task_name, queue, CASE WHEN status = 'dead_letter' THEN 'dead_letter_handled' ELSE 'cancelled' END, count(*)
              FROM gone
             GROUP BY task_name, queue, status = 'dead_letter'
        ), noted AS (
            INSERT INTO task_events (task_id, from_status, to_status, run, reason, enqueued_at)
            SELECT id, status, 'cancelled', runs, 'cancelled', enqueued_at FROM gone WHERE status <> 'dead_letter'
        )
        SELECT id AS "id: TaskId", queue AS "queue: QueueName", task_name, status = 'pending' AS "pending!",
               status = 'running' AS "running!", status = 'dead_letter' AS "dead_letter!"
          FROM found
        "#,
        workflow.0,
        limit,
    )
    .fetch_all(db)
    .await?;
    let mut pass = Pass::default();
    for row in rows {
        if row.running {
            pass.told += 1;
            pass.running.push(row.id);
        } else if row.dead_letter {
            pass.dead_letters += 1;
        } else {
            pass.cancelled += 1;
        }
        if row.pending {
            pass.hints.push(Hint::new(row.id, row.queue, row.task_name));
        }
    }
    Ok(pass)
}

/// Returns whether steps of a workflow have still to be stopped or told.
pub async fn is_unfinished(db: impl PgExecutor<'_>, workflow: TaskId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"
        SELECT EXISTS (SELECT FROM tasks
                        WHERE workflow_id = $1 AND (status <> 'running' OR cancel_requested_at IS NULL)) AS "unfinished!"
        "#,
        workflow.0,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}

/// Ends a stopped workflow that has no live step left, with its joins. Returns whether it did.
pub async fn end(db: impl PgExecutor<'_>, workflow: TaskId) -> Result<bool> {
    let ended = sqlx::query_scalar!(
        r#"
        WITH over AS (
            DELETE FROM workflows w
             WHERE w.id = $1 AND w.cancel_requested_at IS NOT NULL AND NOT EXISTS (SELECT FROM tasks WHERE workflow_id = $1)
            RETURNING *
        ), joins AS (
            DELETE FROM step_joins WHERE workflow_id = $1 AND EXISTS (SELECT FROM over)
        ), noted AS (
            INSERT INTO workflow_events (workflow_id, from_status, to_status, reason, actor)
            SELECT id, status, ends_as, reason, actor FROM over
        ), closed AS (
            INSERT INTO finished_workflows
                   (id, namespace, name, version, definition_hash, context, status, steps, failed, priority, queues, tags,
                    correlation_id, traceparent, idempotency_key, root_id, parent_step, created_at, deadline_at, paused_at,
                    cancel_requested_at, ends_as, reason, actor, finished_at)
            SELECT id, namespace, name, version, definition_hash, context, ends_as, steps, failed, priority, queues, tags,
                   correlation_id, traceparent, idempotency_key, root_id, parent_step, created_at, deadline_at, paused_at,
                   cancel_requested_at, ends_as, reason, actor, now()
              FROM over
        )
        SELECT count(*) AS "count!" FROM over
        "#,
        workflow.0,
    )
    .fetch_one(db)
    .await?;
    Ok(ended > 0)
}

/// Returns up to `limit` workflows that are marked as stopped and have not ended, and marks those whose
/// deadline has passed.
pub async fn stopped(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<TaskId>> {
    sqlx::query_scalar!(
        r#"
        WITH late AS MATERIALIZED (
            SELECT id, status
              FROM workflows
             WHERE deadline_at <= now() AND cancel_requested_at IS NULL
             ORDER BY deadline_at
             LIMIT $1
               FOR NO KEY UPDATE SKIP LOCKED
        ), marked AS (
            UPDATE workflows
               SET cancel_requested_at = now(), ends_as = 'error', reason = 'deadline'
             WHERE id = ANY (ARRAY (SELECT id FROM late)) AND cancel_requested_at IS NULL
        ), noted AS (
            INSERT INTO workflow_events (workflow_id, from_status, to_status, reason)
            SELECT id, status, status, 'deadline' FROM late
        )
        SELECT id AS "id!: TaskId" FROM late
         UNION ALL
        (SELECT id
           FROM workflows
          WHERE (paused_at IS NOT NULL OR cancel_requested_at IS NOT NULL) AND cancel_requested_at IS NOT NULL
          LIMIT $1)
        "#,
        limit,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}
