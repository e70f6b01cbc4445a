//! Cancel: a change of the task's row, so it works without any live worker.

use sqlx::PgExecutor;

use super::Result;
use tasker_core::task::{Hint, QueueName, Run, TaskId, TaskStatus};

/// The result of a cancel request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// The task was waiting and is cancelled now. If it was pending, the caller removes its hint.
    Now(Option<Hint>),
    /// The task is running and its worker is asked to stop. It ends `cancelled` whatever its handler returns.
    Requested,
    /// The task had already finished, in this state.
    AlreadyOver(TaskStatus),
    /// The task is a step of this workflow, which alone can be cancelled.
    OfWorkflow(TaskId),
    /// The task does not exist.
    NotFound,
}

/// Cancels a task. `actor` is the user who asked, for the history.
pub async fn cancel(db: impl PgExecutor<'_> + Copy, id: TaskId, actor: &str) -> Result<Cancelled> {
    loop {
        if let Some(cancelled) = cancel_alive(db, id, actor).await? {
            return Ok(cancelled);
        }
        match super::records::status_of(db, id).await? {
            None => return Ok(Cancelled::NotFound),
            Some(status) if status.is_terminal() => return Ok(Cancelled::AlreadyOver(status)),
            Some(_) => {
                if let Some(workflow) = super::records::workflow_of(db, id).await? {
                    return Ok(Cancelled::OfWorkflow(workflow));
                }
                // an operator's retry moved it back into `tasks` between the two statements: try again
            }
        }
    }
}

/// Cancels a task in `tasks`; `None` if the table has no such row.
async fn cancel_alive(db: impl PgExecutor<'_>, id: TaskId, actor: &str) -> Result<Option<Cancelled>> {
    // the row is locked first, and its state read from the lock: a claim, completion or failure that commits
    // meanwhile is seen, and one that comes later finds the request or no row
    let alive = sqlx::query!(
        r#"
        WITH found AS MATERIALIZED (
            SELECT id, status, runs, worker_id, started_at, cancel_requested_at, task_name, queue
              FROM tasks
             WHERE id = $1 AND workflow_id IS NULL
               FOR NO KEY UPDATE
        ), told AS (
            -- Postgres holds the new row against the checks once as made from the version that the statement's snapshot
            -- shows, which may still be pending, before it turns to the one that is locked; so both are made to agree
            UPDATE tasks t
               SET cancel_requested_at = now(), updated_at = now(), status = f.status, runs = f.runs,
                   worker_id = f.worker_id, started_at = f.started_at, reason = NULL
              FROM found f
             WHERE t.id = f.id AND f.status = 'running' AND f.cancel_requested_at IS NULL
            RETURNING t.id
        ), gone AS (
            DELETE FROM tasks t USING found f
             WHERE t.id = f.id AND f.status IN ('waiting', 'scheduled', 'pending', 'retry_scheduled')
            RETURNING t.*
        ), moved AS (
            INSERT INTO finished_tasks
                   (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
                    crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id, traceparent,
                    timeout_seconds, progress, error, created_at, enqueued_at, run_at, started_at, updated_at, completed_at)
            SELECT id, task_name, queue, priority, parameters, metadata, tags, 'cancelled', runs, attempts, max_attempts,
                   crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id, traceparent,
                   timeout_seconds, progress, error, created_at, enqueued_at, run_at, started_at, now(), now()
              FROM gone
        ), counted AS (
            INSERT INTO task_total_deltas (task_name, queue, event, tasks)
            SELECT task_name, queue, 'cancelled', 1 FROM gone
        ), noted AS (
            INSERT INTO task_events (task_id, from_status, to_status, reason, actor)
            SELECT f.id, f.status, CASE WHEN f.status = 'running' THEN 'running' ELSE 'cancelled' END::task_status,
                   CASE WHEN f.status = 'running' THEN 'cancel_requested' ELSE 'cancelled' END, $2
              FROM found f
             WHERE f.id IN (SELECT id FROM told UNION ALL SELECT id FROM gone)
        )
        SELECT status AS "status: TaskStatus", task_name, queue AS "queue: QueueName" FROM found
        "#,
        id as _,
        actor,
    )
    .fetch_optional(db)
    .await?;
    Ok(alive.map(|row| match row.status {
        TaskStatus::Running => Cancelled::Requested,
        status if status.is_terminal() => Cancelled::AlreadyOver(status),
        TaskStatus::Pending => Cancelled::Now(Some(Hint::new(id, row.queue, row.task_name))),
        _ => Cancelled::Now(None),
    }))
}

/// Returns the in-flight runs of `worker_id` for which a cancellation was requested.
pub async fn cancel_requested(db: impl PgExecutor<'_>, worker_id: &str) -> Result<Vec<Run>> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: TaskId", runs FROM tasks WHERE worker_id = $1 AND cancel_requested_at IS NOT NULL"#,
        worker_id,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Run {
            task: row.id,
            number: row.runs,
        })
        .collect())
}
