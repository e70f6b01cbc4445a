//! Completes steps: moves those whose handler returned a result to `finished_tasks` and advances their
//! workflows.

use std::cmp::Reverse;

use sqlx::PgExecutor;

use super::advance::{Advance, advanced_rows, answered};
use crate::Result;
use crate::complete::Success;
use tasker_core::task::TaskId;

/// Moves the steps of these runs of `worker_id` to `finished_tasks`, with their results, and advances their
/// workflows. A run that is not returned was no longer this worker's, or belongs to a plain task.
///
/// Commits synchronously. Safe to repeat: the second call finds no rows to move.
pub async fn complete(db: impl PgExecutor<'_>, worker_id: &str, successes: &[Success]) -> Result<Advance> {
    // of two runs of one step the later one counts
    let mut successes: Vec<&Success> = successes.iter().collect();
    successes.sort_unstable_by_key(|success| (success.run.task, Reverse(success.run.number)));
    successes.dedup_by_key(|success| success.run.task);
    let ids: Vec<TaskId> = successes.iter().map(|success| success.run.task).collect();
    let runs: Vec<i32> = successes.iter().map(|success| success.run.number).collect();
    let results: Vec<&str> = successes.iter().map(|success| success.result.as_str()).collect();
    let reports: Vec<Option<&str>> = successes
        .iter()
        .map(|success| success.progress.as_deref())
        .collect();
    let rows = advanced_rows!(
        [r#"
                SELECT t.id, t.task_name, t.queue, t.status AS from_status, t.runs, t.worker_id, t.started_at,
                       t.enqueued_at, t.attempts + 1 AS attempts, t.crash_count,
                       CASE WHEN t.cancel_requested_at IS NULL THEN 'completed' ELSE 'cancelled' END::task_status AS next,
                       NULL::double precision AS retry_seconds, NULL::text AS dead_reason, t.attempts + 1 AS attempt,
                       CASE WHEN t.cancel_requested_at IS NOT NULL THEN 'cancelled' END AS reason, NULL::text AS error,
                       NULL::text AS actor, i.result, i.report, t.workflow_id, t.targets, t.kinds
                  FROM (SELECT i.*
                          FROM local, UNNEST($2::uuid[], $3::integer[], $4::text[], $5::text[])
                                          AS i(id, run, result, report)
                         ORDER BY id
                       ) AS i
                 CROSS JOIN LATERAL (
                           -- that it is running follows from its having a worker (see `store::complete`)
                           SELECT *
                             FROM tasks t
                            WHERE t.id = i.id AND t.runs = i.run AND t.worker_id = $1 AND t.workflow_id IS NOT NULL
                              FOR NO KEY UPDATE
                       ) AS t
        "#],
        worker_id,
        ids as _,
        &runs,
        results as _,
        reports as _,
    )
    .fetch_all(db);
    answered(rows).await
}
