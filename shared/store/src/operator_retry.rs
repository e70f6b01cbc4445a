//! Retry by an operator: a dead letter or a cancelled task runs again, from its first attempt.

use sqlx::PgExecutor;

use super::Result;
use super::records::{earliest_end, status_of};
use tasker_core::task::{Hint, QueueName, TaskId, TaskStatus};

/// The result of a retry request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    /// The task is pending again; the caller pushes its hint.
    Pending(Hint),
    /// A task in this state cannot be retried.
    WrongState(TaskStatus),
    /// Another live task holds its idempotency key: its id, or `None` if that task has just ended.
    KeyTaken(Option<TaskId>),
    /// The task does not exist.
    NotFound,
}

/// Makes a dead letter or a cancelled task pending again: `attempts` and `crash_count` become 0, `runs` is
/// kept, since it fences writes of earlier runs. The same statement takes its idempotency key again. `actor`
/// is the user who asked, for the history.
pub async fn retry(
    db: impl PgExecutor<'_> + Copy,
    id: TaskId,
    actor: &str,
    key_ttl_seconds: f64,
) -> Result<Retried> {
    // The snapshot's key (`seen`) is compared with the one that `ON CONFLICT` locks, which is the newest: the
    // check that its holder is over is made on the snapshot, and holds only for a key that is the same in
    // both
    let revived = sqlx::query!(
        r#"
        WITH dead AS MATERIALIZED (
            SELECT id, task_name, idempotency_key, request_fingerprint, status
              FROM tasks
             WHERE id = $1 AND status = 'dead_letter'
               FOR NO KEY UPDATE
        ), cancelled AS MATERIALIZED (
            SELECT id, task_name, idempotency_key, request_fingerprint, status
              FROM finished_tasks
             WHERE id = $1 AND completed_at >= $2 AND status = 'cancelled'
               FOR NO KEY UPDATE
        ), candidate AS (
            SELECT * FROM dead UNION ALL SELECT * FROM cancelled
        ), seen AS MATERIALIZED (
            SELECT k.task_id, k.expires_at
              FROM task_keys k JOIN candidate c USING (task_name, idempotency_key)
        ), retaken AS (
            INSERT INTO task_keys AS k (task_name, idempotency_key, task_id, fingerprint, expires_at)
            SELECT task_name, idempotency_key, id, request_fingerprint, now() + make_interval(secs => $3)
              FROM candidate
             WHERE idempotency_key IS NOT NULL
                ON CONFLICT (task_name, idempotency_key) DO UPDATE
               SET task_id = excluded.task_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
             WHERE k.task_id = excluded.task_id
                -- from a task that is over, and only if the key is still as this snapshot shows it
                OR ((k.task_id, k.expires_at) = (SELECT task_id, expires_at FROM seen)
                    AND NOT EXISTS (SELECT FROM tasks holder
                                     WHERE holder.id = k.task_id AND holder.status <> 'dead_letter'))
            RETURNING k.task_id
        ), free AS (
            SELECT id, status FROM candidate WHERE idempotency_key IS NULL OR id IN (SELECT task_id FROM retaken)
        ), revived AS (
            UPDATE tasks t
               SET status = 'pending', attempts = 0, crash_count = 0, reason = NULL, error = NULL, progress = NULL,
                   started_at = NULL, run_at = NULL, enqueued_at = now(), updated_at = now()
              FROM free f
             WHERE t.id = f.id AND f.status = 'dead_letter'
            RETURNING t.task_name, t.queue
        ), taken_out AS (
            DELETE FROM finished_tasks d USING free f
             WHERE d.id = f.id AND d.completed_at >= $2 AND d.status = 'cancelled'
            RETURNING d.*
        ), moved AS (
            INSERT INTO tasks
                   (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
                    idempotency_key, request_fingerprint, correlation_id, traceparent, timeout_seconds,
                    created_at, enqueued_at)
            SELECT id, task_name, queue, priority, parameters, metadata, tags, 'pending', runs, 0, max_attempts,
                   idempotency_key, request_fingerprint, correlation_id, traceparent, timeout_seconds,
                   created_at, now()
              FROM taken_out
            RETURNING task_name, queue
        ), counted AS (
            INSERT INTO task_total_deltas (task_name, queue, event, tasks)
            SELECT task_name, queue, 'dead_letter_retried', 1 FROM revived
            UNION ALL
            SELECT task_name, queue, 'cancelled_retried', 1 FROM moved
        ), noted AS (
            INSERT INTO task_events (task_id, from_status, to_status, reason, actor)
            SELECT id, status, 'pending', 'retried', $4 FROM free
        )
        SELECT task_name AS "task_name!", queue AS "queue!: QueueName" FROM revived
         UNION ALL
        SELECT task_name, queue FROM moved
        "#,
        id as _,
        earliest_end(id),
        key_ttl_seconds,
        actor,
    )
    .fetch_optional(db)
    .await?;
    match revived {
        Some(row) => Ok(Retried::Pending(Hint::new(id, row.queue, row.task_name))),
        None => rejection(db, id).await,
    }
}

/// Returns the reason why a retry changed no rows.
async fn rejection(db: impl PgExecutor<'_> + Copy, id: TaskId) -> Result<Retried> {
    match status_of(db, id).await? {
        None => Ok(Retried::NotFound),
        Some(TaskStatus::DeadLetter | TaskStatus::Cancelled) => {
            let holder = sqlx::query_scalar!(
                r#"
                SELECT k.task_id AS "id: TaskId"
                  FROM task_records r
                  JOIN task_keys k USING (task_name, idempotency_key)
                 WHERE r.id = $1 AND r.ends >= $2 AND k.task_id <> $1
                "#,
                id as _,
                earliest_end(id),
            )
            .fetch_optional(db)
            .await?;
            Ok(Retried::KeyTaken(holder))
        }
        Some(status) => Ok(Retried::WrongState(status)),
    }
}
