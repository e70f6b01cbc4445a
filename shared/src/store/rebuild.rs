//! What a list should hold: the pending rows of its queue, oldest first.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Result;
use crate::task::{QueueName, TaskId};

/// Rows that became pending within this time do not count: their hints may still be on their way.
const ON_THEIR_WAY_SECONDS: f64 = 2.0;

/// The place of a row in its queue.
pub type Place = (DateTime<Utc>, TaskId);

/// Whether more than `hints` rows of `queue` have been pending for longer than hints take. Counts no further than it must.
pub async fn has_more_than(db: impl PgExecutor<'_>, queue: &QueueName, hints: i64) -> Result<bool> {
    sqlx::query_scalar!(
        r#"
        SELECT count(*) > $2 AS "more!"
          FROM (SELECT FROM tasks
                 WHERE queue = $1 AND status = 'pending' AND enqueued_at <= now() - make_interval(secs => $3)
                 LIMIT $2::bigint + 1) AS pending
        "#,
        queue.as_str(),
        hints,
        ON_THEIR_WAY_SECONDS,
    )
    .fetch_one(db)
    .await
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
) -> Result<Vec<Place>> {
    let (time, id) = after.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, TaskId::MIN));
    let rows = sqlx::query!(
        r#"
        SELECT enqueued_at AS "enqueued_at!", id AS "id: TaskId"
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
    .await?;
    Ok(rows.into_iter().map(|row| (row.enqueued_at, row.id)).collect())
}
