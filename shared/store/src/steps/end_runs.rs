//! Runs of steps that ended without a result: failed attempts and released runs.

use std::cmp::Reverse;

use sqlx::PgExecutor;

use super::advance::{Advance, advanced_rows, answered};
use crate::Result;
use crate::end_runs::{EndedRun, columns};
use tasker_core::task::TaskId;

/// Ends these runs of `worker_id` and advances the workflows of those that ended for good. A run that is not
/// returned was no longer this worker's, or belongs to a plain task.
///
/// Safe to repeat: the second call finds no runs to end.
pub async fn end_runs(db: impl PgExecutor<'_>, worker_id: &str, runs: &[EndedRun]) -> Result<Advance> {
    // of two runs of one step the later one counts
    let mut runs: Vec<&EndedRun> = runs.iter().collect();
    runs.sort_unstable_by_key(|ended| (ended.run.task, Reverse(ended.run.number)));
    runs.dedup_by_key(|ended| ended.run.task);
    let ids: Vec<TaskId> = runs.iter().map(|ended| ended.run.task).collect();
    let numbers: Vec<i32> = runs.iter().map(|ended| ended.run.number).collect();
    let (next, retry_seconds, dead_reasons): (Vec<&str>, Vec<Option<f64>>, Vec<Option<&str>>) =
        runs.iter().map(|ended| columns(ended.verdict)).collect();
    let reasons: Vec<&str> = runs.iter().map(|ended| ended.reason).collect();
    let errors: Vec<Option<&str>> = runs.iter().map(|ended| ended.error.as_deref()).collect();
    let rows = advanced_rows!(
        [r#"
                SELECT t.id, t.task_name, t.queue, t.status AS from_status, t.runs, t.worker_id, t.started_at,
                       t.enqueued_at, t.attempts + (i.next <> 'pending')::integer AS attempts, t.crash_count,
                       CASE WHEN t.cancel_requested_at IS NULL THEN i.next ELSE 'cancelled' END::task_status AS next,
                       i.retry_seconds, i.dead_reason, CASE WHEN i.next <> 'pending' THEN t.attempts + 1 END AS attempt,
                       CASE WHEN t.cancel_requested_at IS NULL THEN i.reason ELSE 'cancelled' END AS reason, i.error,
                       NULL::text AS actor, NULL::text AS result, NULL::text AS report, t.workflow_id, t.targets, t.kinds
                  FROM (SELECT i.*
                          FROM local,
                               UNNEST($2::uuid[], $3::integer[], $4::text[], $5::double precision[], $6::text[],
                                      $7::text[], $8::text[])
                                   AS i(id, run, next, retry_seconds, dead_reason, reason, error)
                         ORDER BY id
                       ) AS i
                 CROSS JOIN LATERAL (
                           SELECT *
                             FROM tasks t
                            WHERE t.id = i.id AND t.runs = i.run AND t.worker_id = $1 AND t.workflow_id IS NOT NULL
                              FOR NO KEY UPDATE
                       ) AS t
        "#],
        worker_id,
        ids as _,
        &numbers,
        next as _,
        retry_seconds as _,
        dead_reasons as _,
        reasons as _,
        errors as _,
    )
    .fetch_all(db);
    answered(rows).await
}
