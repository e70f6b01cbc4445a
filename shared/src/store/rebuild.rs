//! What a list should hold: the pending rows of its queue, oldest first.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Result;
use crate::task::{QueueName, TaskId};

/// Rows that became pending within this time do not count: their hints may still be on their way.
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
    /// When it was last put on its list.
    pub enqueued_at: DateTime<Utc>,
}

impl Pending {
    /// Returns its place in its queue.
    pub fn place(&self) -> Place {
        (self.enqueued_at, self.id)
    }
}

/// The number of pending rows of a queue, compared with the number of its hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// More rows have been pending for longer than hints take.
    pub lacks: bool,
    /// There are fewer pending rows.
    pub exceeds: bool,
}

/// Compares the pending rows of `queue` with a number of hints. Counts no further than it must.
pub async fn compare(db: impl PgExecutor<'_>, queue: &QueueName, hints: i64) -> Result<Comparison> {
    sqlx::query_as!(
        Comparison,
        r#"
        SELECT count(*) FILTER (WHERE enqueued_at <= now() - make_interval(secs => $3)) > $2 AS "lacks!",
               count(*) < $2 AS "exceeds!"
          FROM (SELECT enqueued_at
                  FROM tasks
                 WHERE queue = $1 AND status = 'pending'
                 ORDER BY enqueued_at
                 LIMIT $2::bigint + 1) AS pending
        "#,
        queue.as_str(),
        hints,
        ON_THEIR_WAY_SECONDS,
    )
    .fetch_one(db)
    .await
}

/// Returns which of `ids` are pending in `queue`, with their types. At most 2,000 ids: more would be planned as a scan.
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

/// Postgres's time.
pub async fn now(db: impl PgExecutor<'_>) -> Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"SELECT now() AS "now!""#)
        .fetch_one(db)
        .await
}

/// Up to `limit` pending rows of `queue` behind `after`, in their order; with `until`, none that became pending later.
pub async fn pending_after(
    db: impl PgExecutor<'_>,
    queue: &QueueName,
    after: Option<Place>,
    until: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Vec<Pending>> {
    let (time, id) = after.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, TaskId::MIN));
    sqlx::query_as!(
        Pending,
        r#"
        SELECT enqueued_at AS "enqueued_at!", id AS "id: TaskId", task_name
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
}
