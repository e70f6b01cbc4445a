//! Promotion: scheduled tasks and retries become pending when they are due.

use std::time::Duration;

use sqlx::PgExecutor;

use super::Result;
use tasker_core::task::{Hint, QueueName, TaskId};

/// Makes up to `limit` due tasks pending and returns their hints in id order, for the caller to push.
///
/// Safe to run on two servers at once: rows that the other one promotes are skipped.
pub async fn promote(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Hint>> {
    // rows are locked by due time, not by id: a statement that skips locked rows never waits, so the order of
    // its locks cannot lead to a deadlock
    let rows = sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT id
              FROM tasks
             WHERE status IN ('scheduled', 'retry_scheduled') AND run_at <= now()
             ORDER BY run_at
             LIMIT $1
               FOR NO KEY UPDATE SKIP LOCKED
        ), promoted AS (
            UPDATE tasks t
               SET status = 'pending', enqueued_at = now(), updated_at = now()
              FROM due d
             WHERE t.id = d.id
            RETURNING t.id, t.queue, t.task_name, t.priority
        )
        SELECT id AS "id: TaskId", queue AS "queue: QueueName", task_name, priority FROM promoted ORDER BY id
        "#,
        limit,
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    let hints = rows.map(|row| Hint::new(row.id, row.queue, row.task_name).with_priority(row.priority));
    Ok(hints.collect())
}

/// Returns the time until the next task is due; zero if one is due already, `None` if none is scheduled.
pub async fn next_due_in(db: impl PgExecutor<'_>) -> Result<Option<Duration>> {
    let seconds = sqlx::query_scalar!(
        r#"
        -- GREATEST passes over a null, so without the CASE an empty table would read as "due now"
        SELECT CASE WHEN min(run_at) IS NOT NULL
                    THEN GREATEST(extract(epoch FROM min(run_at) - now())::double precision, 0) END
          FROM tasks
         WHERE status IN ('scheduled', 'retry_scheduled')
        "#,
    )
    .fetch_one(db)
    .await?;
    Ok(seconds.map(Duration::from_secs_f64))
}
