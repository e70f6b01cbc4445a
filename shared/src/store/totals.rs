//! How many tasks came and how they ended, by day: never counted, always added up.
//!
//! Whatever lets tasks begin or end appends what it did to `task_total_deltas` as part of the same statement, one row for each
//! type, queue and event of the batch. The events, as they stand in the column `event`:
//!
//! | event | appended by | |
//! |---|---|---|
//! | `submitted` | [`insert`](super::insert) | tasks written; one that an idempotency key kept out is none |
//! | `completed` | [`complete`](super::complete) | |
//! | `cancelled` | [`complete`](super::complete), [`cancel`](super::cancel), [`end_runs`](super::end_runs), [`recover`](super::recover) | |
//! | `dead_letter` | [`end_runs`](super::end_runs), [`recover`](super::recover) | |
//! | `retry_scheduled` | the same | attempts that failed and are followed by another |
//! | `cancelled_retried`, `dead_letter_retried` | [`operator_retry`](super::operator_retry), [`dead_letters`](super::dead_letters) | made pending again by an operator |
//! | `purged` | [`dead_letters`](super::dead_letters) | dead letters deleted |
//!
//! So at any moment `submitted + cancelled_retried - completed - cancelled - purged` rows are in `tasks`, but for those that were
//! there before totals were kept.

use chrono::NaiveDate;
use sqlx::PgExecutor;

use super::Result;
use crate::task::QueueName;

/// How long totals are kept: a year, and a month to compare with that of the year before.
pub const KEPT_DAYS: i32 = 400;

/// Which totals are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of how many days, today (UTC) included.
    pub days: i32,
    /// Of this type only.
    pub task_name: Option<String>,
    /// Of these queues only.
    pub queues: Option<Vec<QueueName>>,
}

/// How many tasks of a type did what on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// The day (UTC).
    pub day: NaiveDate,
    /// The type.
    pub task_name: String,
    /// What they did.
    pub event: String,
    /// How many.
    pub tasks: i64,
}

/// The totals that match `filter`, of all queues together, by day and type. What a statement did is in here as soon as it has
/// committed.
pub async fn totals(db: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Total>> {
    sqlx::query_as!(
        Total,
        r#"
        SELECT day AS "day!", task_name AS "task_name!", event AS "event!", sum(tasks)::bigint AS "tasks!"
          FROM (SELECT * FROM task_totals UNION ALL SELECT * FROM task_total_deltas) AS t
         WHERE day > (now() AT TIME ZONE 'UTC')::date - $1::integer
           AND ($2::text IS NULL OR task_name = $2)
           AND ($3::text[] IS NULL OR queue = ANY ($3))
         GROUP BY day, task_name, event
         ORDER BY day, task_name, event
        "#,
        filter.days,
        filter.task_name,
        filter.queues.as_deref() as _,
    )
    .fetch_all(db)
    .await
}

/// Folds up to `limit` deltas into the totals, and returns how many those were. Two that fold at once take different ones.
pub async fn fold(db: impl PgExecutor<'_>, limit: i64) -> Result<i64> {
    sqlx::query_scalar!(
        r#"
        WITH folded AS (
            DELETE FROM task_total_deltas
             WHERE ctid = ANY (ARRAY (SELECT ctid FROM task_total_deltas LIMIT $1 FOR UPDATE SKIP LOCKED))
            RETURNING *
        ), added AS (
            -- in the order of the key, so that two never wait for each other in a circle
            INSERT INTO task_totals AS t (day, task_name, queue, event, tasks)
            SELECT day, task_name, queue, event, sum(tasks)
              FROM folded
             GROUP BY day, task_name, queue, event
             ORDER BY day, task_name, queue, event
                ON CONFLICT (day, task_name, queue, event) DO UPDATE SET tasks = t.tasks + excluded.tasks
        )
        SELECT count(*) AS "folded!" FROM folded
        "#,
        limit,
    )
    .fetch_one(db)
    .await
}

/// Forgets the totals of days that are past [`KEPT_DAYS`], and returns how many rows those were.
pub async fn forget(db: impl PgExecutor<'_>) -> Result<u64> {
    sqlx::query!(
        "DELETE FROM task_totals WHERE day <= (now() AT TIME ZONE 'UTC')::date - $1::integer",
        KEPT_DAYS,
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected())
}
