//! How many tasks came and how they ended, by day: never counted, always added up.
//!
//! Whatever lets tasks begin or end appends what it did to `task_total_deltas` as part of the same statement, one row for each
//! type, queue and [`Event`] of the batch. So `submitted + cancelled_retried - completed - cancelled - purged` of all days together
//! is how many rows are in `tasks`, as long as nothing is left out that was submitted before totals were kept, under a
//! version that did not keep them, or more than [`TOTALS_DAYS`] ago.

use chrono::NaiveDate;
use sqlx::PgExecutor;

use super::Result;
use crate::task::QueueName;
use crate::task::limits::TOTALS_DAYS;

/// What tasks did, as it stands in the column `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Event {
    /// Written by [`insert`](super::insert); what an idempotency key kept out is not.
    Submitted,
    /// By [`complete`](super::complete).
    Completed,
    /// By [`cancel`](super::cancel), and wherever a run ends that was told to stop.
    Cancelled,
    /// By [`end_runs`](super::end_runs) and [`recover`](super::recover).
    DeadLetter,
    /// An attempt failed and is to be tried again; by the same.
    RetryScheduled,
    /// A cancelled task was made pending by an operator; by [`operator_retry`](super::operator_retry).
    CancelledRetried,
    /// A dead letter was; by the same and by [`dead_letters`](super::dead_letters).
    DeadLetterRetried,
    /// A dead letter was deleted; by [`dead_letters`](super::dead_letters).
    Purged,
}

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

/// How many tasks did what: on a day, whatever their type, or of a type, whatever the day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// The day (UTC), in a total of a day.
    pub day: Option<NaiveDate>,
    /// The type, in a total of a type.
    pub task_name: Option<String>,
    /// What they did.
    pub event: Event,
    /// How many.
    pub tasks: i64,
}

/// The totals that match `filter`: those of each day, and those of each type. What a statement did is in here as soon as it
/// has committed.
pub async fn totals(db: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Total>> {
    sqlx::query_as!(
        Total,
        r#"
        SELECT day, task_name, event AS "event!: Event", sum(tasks)::bigint AS "tasks!"
          FROM (SELECT day, task_name, queue, event, tasks FROM task_totals
                 UNION ALL
                SELECT day, task_name, queue, event, tasks FROM task_total_deltas) AS t
         WHERE day > (now() AT TIME ZONE 'UTC')::date - $1::integer
           AND ($2::text IS NULL OR task_name = $2)
           AND ($3::text[] IS NULL OR queue = ANY ($3))
           -- a newer version beside this one may know others
           AND event IN ('submitted', 'completed', 'cancelled', 'dead_letter', 'retry_scheduled', 'cancelled_retried',
                         'dead_letter_retried', 'purged')
         GROUP BY GROUPING SETS ((day, event), (task_name, event))
         ORDER BY day, task_name, event
        "#,
        filter.days,
        filter.task_name,
        filter.queues.as_deref() as _,
    )
    .fetch_all(db)
    .await
}

/// How many blocks the file of the deltas has.
pub async fn blocks(db: impl PgExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT pg_relation_size('task_total_deltas') / current_setting('block_size')::bigint AS "blocks!""#
    )
    .fetch_one(db)
    .await
}

/// Folds the deltas of the blocks from `from` to below `to` into the totals, and returns how many those were. Of two that fold
/// at once the second waits and finds nothing left.
pub async fn fold(db: impl PgExecutor<'_>, from: i64, to: i64) -> Result<i64> {
    sqlx::query_scalar!(
        r#"
        WITH folded AS (
            DELETE FROM task_total_deltas
             WHERE ctid >= $1::text::tid AND ctid < $2::text::tid
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
        format!("({from},0)"),
        format!("({to},0)"),
    )
    // planned each time: a plan made for a small file would read all of a large one for each range
    .persistent(false)
    .fetch_one(db)
    .await
}

/// Gives the pages at the end of the deltas' file back. What it may have to wait for it leaves for another time.
pub async fn shrink(db: impl PgExecutor<'_>) -> Result<()> {
    sqlx::raw_sql("VACUUM (TRUNCATE) task_total_deltas")
        .execute(db)
        .await
        .map(drop)
}

/// Forgets the totals of days that are past [`TOTALS_DAYS`], and returns how many rows those were.
pub async fn forget(db: impl PgExecutor<'_>) -> Result<u64> {
    sqlx::query!(
        "DELETE FROM task_totals WHERE day <= (now() AT TIME ZONE 'UTC')::date - $1::integer",
        TOTALS_DAYS,
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected())
}
