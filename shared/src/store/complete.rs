//! Complete: the one move with which a task ends well.

use std::cmp::Reverse;

use sqlx::PgExecutor;

use super::Result;
use crate::task::{Run, TaskId, TaskStatus};

/// The number of the first run of a task.
const FIRST: i32 = 1;

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
    // nearly all are the first run of their task, so that a number is looked up for the few others only; of two runs of one task
    // the later one is found
    let mut others: Vec<Run> = successes.iter().map(|success| success.run).collect();
    others.retain(|run| run.number != FIRST);
    others.sort_unstable_by_key(|run| Reverse(run.number));
    let (other_ids, other_numbers): (Vec<TaskId>, Vec<i32>) =
        others.into_iter().map(|run| (run.task, run.number)).unzip();
    let reports: Vec<Option<&str>> = successes
        .iter()
        .map(|success| success.progress.as_deref())
        .collect();
    let results: Vec<&str> = successes.iter().map(|success| success.result.as_str()).collect();
    let rows = sqlx::query!(
        r#"
        WITH ended AS (
            -- the DELETE is look-up, lock and fence in one, and decides on the version that it deletes. That a row is running
            -- follows from its having a worker; saying so would tempt the planner into the index of running rows, which is
            -- full of dead entries
            DELETE FROM tasks
             WHERE id = ANY ($2::uuid[]) AND worker_id = $1
               AND runs = COALESCE(($4::integer[])[array_position($3::uuid[], id)], $5)
            RETURNING *
        )
        INSERT INTO finished_tasks
               (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
                crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id, traceparent,
                timeout_seconds, progress, created_at, enqueued_at, run_at, started_at, updated_at, result, completed_at)
        SELECT t.id, task_name, queue, priority, parameters, metadata, tags,
               CASE WHEN cancel_requested_at IS NULL THEN 'completed' ELSE 'cancelled' END::task_status,
               runs, attempts + 1, max_attempts,
               crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id, traceparent,
               timeout_seconds, COALESCE(i.report::json, progress), created_at, enqueued_at, run_at, started_at, now(),
               CASE WHEN cancel_requested_at IS NULL THEN i.result::json END, now()
          FROM ended t
          -- a full join is hashed or merged; any other could be planned as all with all. The condition, which the planner
          -- cannot see through, keeps it one
          FULL JOIN UNNEST($2::uuid[], $6::integer[], $7::text[], $8::text[]) AS i(id, run, result, report)
               ON i.id = t.id AND i.run = t.runs
         WHERE COALESCE(t.worker_id, '') <> ''
        RETURNING id AS "id: TaskId", status AS "status: TaskStatus"
        "#,
        worker_id,
        ids as _,
        other_ids as _,
        &other_numbers,
        FIRST,
        &runs,
        results as _,
        reports as _,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.status)).collect())
}
