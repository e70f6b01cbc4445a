//! Skips steps whose parents have all ended but gave no reason to run them.

use sqlx::PgExecutor;

use super::advance::{Advance, advanced_rows, answered};
use crate::{Error, Result};
use tasker_core::task::TaskId;

/// Skips these steps, which an earlier statement found to be skipped, and advances their workflows. Steps
/// that have to be skipped as a consequence are in the answer: the caller sends them as the next wave.
///
/// A wave is a statement of its own, since the parts of one statement do not see each other's changes. No
/// state is kept between two waves but the mark on the rows, so any process can go on.
pub async fn skip_wave(db: impl PgExecutor<'_>, steps: &[TaskId]) -> Result<Advance> {
    let rows = advanced_rows!(
        [r#"
                SELECT t.id, t.task_name, t.queue, t.status AS from_status, t.runs, t.worker_id, t.started_at,
                       t.enqueued_at, t.attempts, t.crash_count, 'skipped'::task_status AS next,
                       NULL::double precision AS retry_seconds, NULL::text AS dead_reason, NULL::integer AS attempt,
                       'skipped' AS reason, NULL::text AS error, NULL::text AS actor, NULL::text AS result,
                       NULL::text AS report, t.workflow_id, t.targets, t.kinds
                  FROM (SELECT i.id FROM local, UNNEST($1::uuid[]) AS i(id) ORDER BY id) AS i
                 CROSS JOIN LATERAL (
                           SELECT *
                             FROM tasks t
                            WHERE t.id = i.id AND t.status = 'waiting' AND t.marks & 32 = 32
                              FOR NO KEY UPDATE
                       ) AS t
        "#],
        steps as _,
    )
    .fetch_all(db);
    answered(rows).await
}

/// Returns up to `limit` steps that have been waiting to be skipped for at least `age_seconds`.
pub async fn unskipped(db: impl PgExecutor<'_>, age_seconds: f64, limit: i64) -> Result<Vec<TaskId>> {
    sqlx::query_scalar!(
        r#"
        SELECT id AS "id: TaskId"
          FROM tasks
         WHERE status = 'waiting' AND marks & 32 = 32 AND updated_at <= now() - make_interval(secs => $1)
         LIMIT $2
        "#,
        age_seconds,
        limit,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}
