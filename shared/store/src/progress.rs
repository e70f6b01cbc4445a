//! Progress reports of running handlers.

use sqlx::PgExecutor;

use super::Result;
use tasker_core::task::{Run, TaskId};

/// Stores the latest report of each of these runs of `worker_id`. Ignores runs that are no longer this
/// worker's.
///
/// Commits asynchronously: the next report replaces this one anyway.
pub async fn report(db: impl PgExecutor<'_>, worker_id: &str, reports: &[(Run, String)]) -> Result<u64> {
    let ids: Vec<TaskId> = reports.iter().map(|(run, _)| run.task).collect();
    let runs: Vec<i32> = reports.iter().map(|(run, _)| run.number).collect();
    let values: Vec<&str> = reports.iter().map(|(_, value)| value.as_str()).collect();
    // `synchronous_commit` is turned off in the statement itself, before any row is changed
    let done = sqlx::query!(
        r#"
        WITH lazy AS MATERIALIZED (
            SELECT set_config('synchronous_commit', 'off', true)
        ), input AS MATERIALIZED (
            SELECT t.*
              FROM lazy, UNNEST($2::uuid[], $3::integer[], $4::text[]) AS t(id, run, value)
             ORDER BY id
        )
        UPDATE tasks t SET progress = i.value::json, updated_at = now()
          FROM input i
         WHERE t.id = i.id AND t.runs = i.run AND t.worker_id = $1
        "#,
        worker_id,
        ids as _,
        &runs,
        values as _,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
