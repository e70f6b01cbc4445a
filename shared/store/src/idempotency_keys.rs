//! Idempotency keys that are already in use.

use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::{QueueName, TaskId, TaskStatus};

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

/// Returns the holders of `keys`, given as (task name, key). A key that has expired and whose task is
/// terminal, or whose task was purged, is deleted here and reported as free; the caller inserts once more.
pub async fn holders(db: impl PgExecutor<'_>, keys: &[(&str, &str)]) -> Result<Vec<Holder>> {
    // The DELETE sees the snapshot of the read, so it repeats the task id and the expiry: a key that another
    // task has taken since is left alone.
    let (names, keys): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
    sqlx::query_as!(
        Holder,
        r#"
        WITH held AS (
            -- the holder and its key were written together, so a statement that sees the key sees the task
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
    .map_err(Error::from)
}

/// The result of [`tidy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tidied {
    /// Expired keys of terminal tasks: deleted.
    pub deleted: i64,
    /// Expired keys of tasks that are not terminal: extended.
    pub prolonged: i64,
}

/// Checks up to `limit` expired keys, the longest expired first. A key is valid for at least its time to
/// live, and as long as its task is not terminal.
pub async fn tidy(db: impl PgExecutor<'_>, ttl_seconds: f64, limit: i64) -> Result<Tidied> {
    // locked keys are skipped: the submit or retry that holds one is changing its expiry
    sqlx::query_as!(
        Tidied,
        r#"
        WITH expired AS MATERIALIZED (
            -- a key that is taken again meanwhile has another time, and drops out when its lock is had
            SELECT k.task_name, k.idempotency_key,
                   EXISTS (SELECT FROM tasks t WHERE t.id = k.task_id AND t.status <> 'dead_letter') AS holds
              FROM task_keys k
             WHERE k.expires_at <= now()
             ORDER BY k.expires_at
             LIMIT $2
               FOR UPDATE OF k SKIP LOCKED
        ), deleted AS (
            DELETE FROM task_keys k USING expired e
             WHERE k.task_name = e.task_name AND k.idempotency_key = e.idempotency_key AND NOT e.holds
            RETURNING 1
        ), prolonged AS (
            UPDATE task_keys k SET expires_at = now() + make_interval(secs => $1)
              FROM expired e
             WHERE k.task_name = e.task_name AND k.idempotency_key = e.idempotency_key AND e.holds
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM deleted) AS "deleted!", (SELECT count(*) FROM prolonged) AS "prolonged!"
        "#,
        ttl_seconds,
        limit,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}

/// Checks up to `limit` expired keys of workflows, as [`tidy`] does for those of tasks: a key is valid as
/// long as its workflow lives.
pub async fn tidy_workflows(db: impl PgExecutor<'_>, ttl_seconds: f64, limit: i64) -> Result<Tidied> {
    sqlx::query_as!(
        Tidied,
        r#"
        WITH expired AS MATERIALIZED (
            SELECT k.namespace, k.name, k.idempotency_key,
                   EXISTS (SELECT FROM workflows w WHERE w.id = k.workflow_id OFFSET 0) AS holds
              FROM workflow_keys k
             WHERE k.expires_at <= now()
             ORDER BY k.expires_at
             LIMIT $2
               FOR UPDATE OF k SKIP LOCKED
        ), deleted AS (
            DELETE FROM workflow_keys k USING expired e
             WHERE k.namespace = e.namespace AND k.name = e.name AND k.idempotency_key = e.idempotency_key AND NOT e.holds
            RETURNING 1
        ), prolonged AS (
            UPDATE workflow_keys k SET expires_at = now() + make_interval(secs => $1)
              FROM expired e
             WHERE k.namespace = e.namespace AND k.name = e.name AND k.idempotency_key = e.idempotency_key AND e.holds
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM deleted) AS "deleted!", (SELECT count(*) FROM prolonged) AS "prolonged!"
        "#,
        ttl_seconds,
        limit,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}
