//! Complete: the one move with which a task ends well.

use sqlx::PgExecutor;

use super::Result;
use crate::task::{Run, TaskId, TaskStatus};

/// A run whose handler returned a result.
#[derive(Debug, Clone)]
pub struct Success {
    /// Which run.
    pub run: Run,
    /// JSON text of the result.
    pub result: String,
    /// JSON text of the last progress report, which may not have been stored yet.
    pub progress: Option<String>,
}

/// Moves the tasks of these runs of `worker_id` to `finished_tasks`, with their results. Returns how each ended: `completed`,
/// or `cancelled` if somebody asked for that meanwhile. A run that is not returned was no longer this worker's: a late write.
///
/// Commits synchronously. May be repeated: a second time finds nothing to move.
pub async fn complete(
    db: impl PgExecutor<'_>,
    worker_id: &str,
    successes: &[Success],
) -> Result<Vec<(TaskId, TaskStatus)>> {
    let ids: Vec<TaskId> = successes.iter().map(|success| success.run.task).collect();
    let runs: Vec<i32> = successes.iter().map(|success| success.run.number).collect();
    let reports: Vec<Option<&str>> = successes
        .iter()
        .map(|success| success.progress.as_deref())
        .collect();
    let results: Vec<&str> = successes.iter().map(|success| success.result.as_str()).collect();
    let rows = sqlx::query!(
        r#"
        WITH input AS MATERIALIZED (
            SELECT * FROM UNNEST($2::uuid[], $3::integer[], $4::text[], $5::text[]) AS t(id, run, result, report)
             ORDER BY id
        ), ended AS MATERIALIZED (
            -- row by row: a join could be planned as a scan (see `store`). That a row is running follows from its having a
            -- worker; saying so would tempt the planner into the index of running rows, which is full of dead entries
            SELECT t.*, CASE WHEN t.cancel_requested_at IS NULL THEN i.result::json END AS result, i.report::json AS report
              FROM input i
             CROSS JOIN LATERAL (
                       SELECT * FROM tasks t WHERE t.id = i.id AND t.runs = i.run AND t.worker_id = $1 FOR UPDATE
                   ) t
        ), gone AS (
            DELETE FROM tasks t WHERE t.id = ANY (ARRAY (SELECT id FROM ended))
        )
        INSERT INTO finished_tasks
               (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
                crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id, traceparent,
                timeout_seconds, progress, created_at, enqueued_at, run_at, started_at, updated_at, result, completed_at)
        SELECT id, task_name, queue, priority, parameters, metadata, tags,
               CASE WHEN cancel_requested_at IS NULL THEN 'completed' ELSE 'cancelled' END::task_status,
               runs, attempts + 1, max_attempts,
               crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id, traceparent,
               timeout_seconds, COALESCE(report, progress), created_at, enqueued_at, run_at, started_at, now(),
               result, now()
          FROM ended
        RETURNING id AS "id: TaskId", status AS "status: TaskStatus"
        "#,
        worker_id,
        ids as _,
        &runs,
        results as _,
        reports as _,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.status)).collect())
}
