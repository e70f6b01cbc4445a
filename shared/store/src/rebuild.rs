//! The expected content of a Redis list: the pending rows of its queue, read oldest first.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::{Priority, QueueName, TaskId};

/// Rows that became pending within this time do not count, since their hints may still be on their way.
const ON_THEIR_WAY_SECONDS: f64 = 2.0;

/// The place of a row in its queue.
pub type Place = (DateTime<Utc>, TaskId);

/// A pending row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The task.
    pub id: TaskId,
    /// Its type.
    pub task_name: String,
    /// Its priority, which decides the end of the list.
    pub priority: Priority,
    /// The time when it last became pending.
    pub enqueued_at: DateTime<Utc>,
}

impl Pending {
    /// Returns its place in its queue.
    pub fn place(&self) -> Place {
        (self.enqueued_at, self.id)
    }
}

/// The number of pending rows of a queue compared with the number of its hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// There are more pending rows than hints, even without those whose hints may still be on their way.
    pub lacks: bool,
    /// There are fewer pending rows than hints.
    pub exceeds: bool,
}

/// Compares the pending rows of each of `queues` with a number of hints; the results are in the same order.
/// Stops counting at one row more than hints.
pub async fn compare(
    db: impl PgExecutor<'_>,
    queues: &[QueueName],
    hints: &[i64],
) -> Result<Vec<Comparison>> {
    sqlx::query_as!(
        Comparison,
        r#"
        SELECT found.lacks AS "lacks!", found.exceeds AS "exceeds!"
          FROM UNNEST($1::text[], $2::bigint[]) WITH ORDINALITY AS q(name, hints, place)
         CROSS JOIN LATERAL (
                   SELECT count(*) FILTER (WHERE enqueued_at <= now() - make_interval(secs => $3)) > q.hints AS lacks,
                          count(*) < q.hints AS exceeds
                     FROM (SELECT enqueued_at
                             FROM tasks
                            WHERE queue = q.name AND status = 'pending'
                            ORDER BY enqueued_at
                            LIMIT q.hints + 1) AS pending
               ) AS found
         ORDER BY q.place
        "#,
        queues as _,
        hints,
        ON_THEIR_WAY_SECONDS,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Returns those of `ids` that are pending in `queue`, with their types. At most 2,000 ids: the planner would
/// choose a scan for more.
pub async fn still_pending(
    db: impl PgExecutor<'_>,
    queue: &QueueName,
    ids: &[TaskId],
) -> Result<HashMap<TaskId, String>> {
    let rows = sqlx::query!(
        r#"
        SELECT id AS "id: TaskId", task_name
          FROM tasks
         WHERE id = ANY ($1::uuid[]) AND queue = $2 AND status::text = 'pending'
        "#,
        ids as _,
        queue.as_str(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.task_name)).collect())
}

/// Returns Postgres's time.
pub async fn now(db: impl PgExecutor<'_>) -> Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"SELECT now() AS "now!""#)
        .fetch_one(db)
        .await
        .map_err(Error::from)
}

/// Returns up to `limit` pending rows of `queue` after the place `after`, in order; with `until`, only rows
/// that became pending by then.
pub async fn pending_after(
    db: impl PgExecutor<'_>,
    queue: &QueueName,
    after: Option<Place>,
    until: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Vec<Pending>> {
    // without a place the range begins at the smallest one, which keeps one statement for both cases
    let (time, id) = after.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, TaskId::MIN));
    sqlx::query_as!(
        Pending,
        r#"
        SELECT enqueued_at AS "enqueued_at!", id AS "id: TaskId", task_name, priority
          FROM tasks
         WHERE queue = $1 AND status = 'pending' AND (enqueued_at, id) > ($2, $3)
           AND enqueued_at <= COALESCE($4, 'infinity'::timestamptz)
         ORDER BY enqueued_at, id
         LIMIT $5
        "#,
        queue.as_str(),
        time,
        id as _,
        until,
        limit,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}
