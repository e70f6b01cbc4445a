//! Cancel: a row change that always works, worker or no worker.

use sqlx::PgExecutor;

use super::Result;
use crate::task::{Run, TaskId, TaskStatus};

/// What a request to cancel met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// It waited, and is cancelled now.
    Now,
    /// It runs, and is told to stop; it ends cancelled whatever its handler returns.
    ToldToStop,
    /// It had already ended, in this state.
    AlreadyOver(TaskStatus),
    /// There is no such task.
    NotFound,
}

/// Cancels a task. `actor` is who asked, for the history.
pub async fn cancel(db: impl PgExecutor<'_> + Copy, id: TaskId, actor: &str) -> Result<Cancelled> {
    let alive = sqlx::query!(
        r#"
        WITH found AS MATERIALIZED (
            SELECT id, status, cancel_requested_at FROM tasks WHERE id = $1 FOR NO KEY UPDATE
        ), told AS (
            UPDATE tasks t SET cancel_requested_at = now(), updated_at = now()
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
        ), noted AS (
            INSERT INTO task_events (task_id, from_status, to_status, reason, actor)
            SELECT f.id, f.status, CASE WHEN f.status = 'running' THEN 'running' ELSE 'cancelled' END::task_status,
                   CASE WHEN f.status = 'running' THEN 'cancel_requested' ELSE 'cancelled' END, $2
              FROM found f
             WHERE f.id IN (SELECT id FROM told UNION ALL SELECT id FROM gone)
        )
        SELECT status AS "status: TaskStatus" FROM found
        "#,
        id as _,
        actor,
    )
    .fetch_optional(db)
    .await?;
    match alive.map(|row| row.status) {
        Some(TaskStatus::Running) => Ok(Cancelled::ToldToStop),
        Some(status) if status.is_terminal() => Ok(Cancelled::AlreadyOver(status)),
        Some(_) => Ok(Cancelled::Now),
        None => Ok(super::records::status_of(db, id)
            .await?
            .map_or(Cancelled::NotFound, Cancelled::AlreadyOver)),
    }
}

/// The runs of `worker_id` that have been told to stop.
pub async fn told_to_stop(db: impl PgExecutor<'_>, worker_id: &str) -> Result<Vec<Run>> {
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
