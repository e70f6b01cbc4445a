//! Numbers of tasks by day, type, queue and event, kept up to date by addition.
//!
//! Every statement that starts or ends tasks appends the change to `task_total_deltas`, one row for each
//! type, queue and [`Event`] of the batch: a direct update of the totals would make concurrent statements
//! wait for one row. The sum `submitted + cancelled_retried - completed - cancelled - purged` over all days
//! is the number of rows in `tasks`, except for tasks that were submitted before totals were kept, under a
//! version that did not keep them, or more than [`TOTALS_DAYS`] ago.

use chrono::NaiveDate;
use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::QueueName;
use tasker_core::task::limits::TOTALS_DAYS;

/// A counted event, as it stands in the column `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Event {
    /// Inserted by [`insert`](super::insert); duplicates found by an idempotency key do not count.
    Submitted,
    /// By [`complete`](super::complete).
    Completed,
    /// By [`cancel`](super::cancel), or by the end of a run whose cancellation was requested.
    Cancelled,
    /// By [`end_runs`](super::end_runs) and [`recover`](super::recover).
    DeadLetter,
    /// An attempt failed and will be retried; by the same.
    RetryScheduled,
    /// An operator retried a cancelled task; by [`operator_retry`](super::operator_retry).
    CancelledRetried,
    /// An operator retried a dead letter; by the same and by [`dead_letters`](super::dead_letters).
    DeadLetterRetried,
    /// A dead letter was deleted; by [`dead_letters`](super::dead_letters).
    Purged,
}

/// A filter of totals.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The number of days, today (UTC) included.
    pub days: i32,
    /// Of this type only.
    pub task_name: Option<String>,
    /// Of these queues only.
    pub queues: Option<Vec<QueueName>>,
}

/// The number of tasks with one event: on a day, of all types, or of a type, on all days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// The day (UTC), in a total of a day.
    pub day: Option<NaiveDate>,
    /// The type, in a total of a type.
    pub task_name: Option<String>,
    /// The event.
    pub event: Event,
    /// The number of tasks.
    pub tasks: i64,
}

/// Returns the totals that match `filter`: those of each day, and those of each type. Includes everything
/// that has committed.
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
    .map_err(Error::from)
}

/// Returns the number of blocks of the table of deltas.
pub async fn blocks(db: impl PgExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT pg_relation_size('task_total_deltas') / current_setting('block_size')::bigint AS "blocks!""#
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}

/// Adds the deltas in the blocks from `from` to below `to` to the totals and deletes them; returns the number
/// of deltas. Safe to run twice at once: the second waits and finds no deltas left.
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
        // a range of `ctid` reads these blocks only, however many deltas wait behind them
        format!("({from},0)"),
        format!("({to},0)"),
    )
    // planned each time: a plan made for a small table would read all of a large one for each range
    .persistent(false)
    .fetch_one(db)
    .await
    .map_err(Error::from)
}

/// Truncates the free pages at the end of the table of deltas. If another session blocks that, it is left for
/// another time.
pub async fn shrink(db: impl PgExecutor<'_>) -> Result<()> {
    sqlx::raw_sql("VACUUM (TRUNCATE) task_total_deltas")
        .execute(db)
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Deletes the totals of days older than [`TOTALS_DAYS`] and returns the number of rows.
pub async fn forget(db: impl PgExecutor<'_>) -> Result<u64> {
    sqlx::query!(
        "DELETE FROM task_totals WHERE day <= (now() AT TIME ZONE 'UTC')::date - $1::integer",
        TOTALS_DAYS,
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(Error::from)
}
