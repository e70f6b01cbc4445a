//! Idempotency keys that were already taken.

use sqlx::PgExecutor;

use super::Result;
use crate::task::{QueueName, TaskId, TaskStatus};

/// The task that holds a key.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The task name that the key belongs to.
    pub task_name: String,
    /// The key.
    pub idempotency_key: String,
    /// The task that holds it.
    pub task_id: TaskId,
    /// SHA-256 of the request that took it.
    pub fingerprint: Vec<u8>,
    /// The holder's state now.
    pub status: TaskStatus,
    /// The holder's queue.
    pub queue: QueueName,
}

/// Looks up who holds each of `keys`, given as (task name, key). A key that expired while its task is over, or whose task
/// was purged, is let go here and reported as held by nobody: whoever asked inserts once more.
pub async fn holders(db: impl PgExecutor<'_>, keys: &[(&str, &str)]) -> Result<Vec<Holder>> {
    let (names, keys): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
    sqlx::query_as!(
        Holder,
        r#"
        WITH held AS (
            -- the holder and its key were written together, so whoever sees the key sees the task
            SELECT k.task_name, k.idempotency_key, k.task_id, k.fingerprint, r.status, r.queue,
                   r.id IS NULL
                   OR (k.expires_at <= now() AND (r.finished OR r.status = 'dead_letter')) AS lapsed
              FROM UNNEST($1::text[], $2::text[]) AS wanted(task_name, idempotency_key)
              JOIN task_keys k USING (task_name, idempotency_key)
              LEFT JOIN task_records r ON r.id = k.task_id
        ), let_go AS (
            DELETE FROM task_keys k USING held h
             WHERE k.task_name = h.task_name AND k.idempotency_key = h.idempotency_key
               AND k.task_id = h.task_id AND h.lapsed
               -- a key that was prolonged meanwhile stays
               AND (h.status IS NULL OR k.expires_at <= now())
        )
        SELECT task_name, idempotency_key, task_id AS "task_id: TaskId", fingerprint,
               status AS "status!: TaskStatus", queue AS "queue!: QueueName"
          FROM held
         WHERE NOT lapsed
        "#,
        names as _,
        keys as _,
    )
    .fetch_all(db)
    .await
}
