//! Complete: moves a task whose handler returned a result to `finished_tasks`.

use std::cmp::Reverse;

use sqlx::PgExecutor;

use super::Result;
use super::insert::durably;
use tasker_core::task::{Run, TaskId, TaskStatus};

/// The number of the first run of a task.
const FIRST: i32 = 1;

/// A run whose handler returned a result.
#[derive(Debug, Clone)]
pub struct Success {
    /// The run.
    pub run: Run,
    /// JSON text of the result.
    pub result: String,
    /// JSON text of the last progress report, which may not have been stored yet.
    pub progress: Option<String>,
}

/// Moves the tasks of these runs of `worker_id` to `finished_tasks`, with their results. Returns the state in
/// which each ended: `completed`, or `cancelled` if a cancellation was requested meanwhile. A run that is not
/// returned was no longer this worker's (a late write), or is that of a step, which
/// [`steps::complete`](crate::steps::complete) completes.
///
/// Commits synchronously: a result is acknowledged only when it survives a crash. Safe to repeat: the second
/// call finds no rows to move.
pub async fn complete(
    db: impl PgExecutor<'_>,
    worker_id: &str,
    successes: &[Success],
) -> Result<Vec<(TaskId, TaskStatus)>> {
    // of two runs of one task the later one counts
    let mut successes: Vec<&Success> = successes.iter().collect();
    successes.sort_unstable_by_key(|success| (success.run.task, Reverse(success.run.number)));
    successes.dedup_by_key(|success| success.run.task);
    let ids: Vec<TaskId> = successes.iter().map(|success| success.run.task).collect();
    // nearly all are first runs, so only the others travel with their number: a lookup in a short array per
    // row
    let others = successes.iter().map(|success| success.run);
    let (other_ids, other_numbers): (Vec<TaskId>, Vec<i32>) = others
        .filter(|run| run.number != FIRST)
        .map(|run| (run.task, run.number))
        .unzip();
    let reports: Vec<Option<&str>> = successes
        .iter()
        .map(|success| success.progress.as_deref())
        .collect();
    let results: Vec<&str> = successes.iter().map(|success| success.result.as_str()).collect();
    // durably, whatever the server's default is: the worker forgets a result once it is answered, so a result
    // that is lost later could not be sent again
    let rows = durably!(
        r#"
        ), ended AS (
            -- the DELETE is look-up, lock and fence in one, and decides on the version that it deletes. That a row is running
            -- follows from its having a worker; saying so would tempt the planner into the index of running rows, which is
            -- full of dead entries
            DELETE FROM tasks
             WHERE id = ANY ($2::uuid[]) AND worker_id = $1 AND workflow_id IS NULL
               AND runs = COALESCE(($4::integer[])[array_position($3::uuid[], id)], $5)
            RETURNING *
        ), counted AS (
            INSERT INTO task_total_deltas (task_name, queue, event, tasks)
            SELECT task_name, queue, CASE WHEN cancel_requested_at IS NULL THEN 'completed' ELSE 'cancelled' END, count(*)
              FROM ended
             GROUP BY task_name, queue, cancel_requested_at IS NULL
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
          FULL JOIN UNNEST($2::uuid[], $6::text[], $7::text[]) AS i(id, result, report) ON i.id = t.id
         WHERE COALESCE(t.worker_id, '') <> '' AND EXISTS (SELECT FROM durable)
        -- not the status itself: Postgres looks the text of an enum up for each row
        RETURNING id AS "id: TaskId", status = 'cancelled' AS "cancelled!"
        "#,
        worker_id,
        ids as _,
        other_ids as _,
        &other_numbers,
        FIRST,
        results as _,
        reports as _,
    )
    .fetch_all(db)
    .await?;
    let status = |cancelled| {
        if cancelled {
            TaskStatus::Cancelled
        } else {
            TaskStatus::Completed
        }
    };
    Ok(rows
        .into_iter()
        .map(|row| (row.id, status(row.cancelled)))
        .collect())
}
