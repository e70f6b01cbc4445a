//! Retry by an operator: a dead letter or a cancelled task runs again, from its first attempt.

use sqlx::PgExecutor;

use super::Result;
use super::records::{earliest_end, status_of, workflow_of};
use tasker_core::task::{Hint, Priority, QueueName, TaskId, TaskStatus};

/// The result of a retry request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    /// The task is pending again; the caller pushes its hint.
    Pending(Hint),
    /// A task in this state cannot be retried.
    WrongState(TaskStatus),
    /// Another live task holds its idempotency key: its id, or `None` if that task has just ended.
    KeyTaken(Option<TaskId>),
    /// The task is a step of this workflow, which alone can retry it.
    OfWorkflow(TaskId),
    /// The task does not exist.
    NotFound,
}

/// Makes tasks pending again, between the part that picks and locks them and the part that ends the
/// statement. The first gives `picked` (id, `task_name`, `idempotency_key`, `request_fingerprint`, status);
/// the placeholder `$ttl` is that of the seconds for which a key is taken. The last may read `free` (id,
/// status), the tasks whose keys are free, and `revived` (id, `task_name`, queue, priority), the dead letters
/// among them, which are pending again.
///
/// The snapshot's key (`seen`) is compared with the one that `ON CONFLICT` locks, which is the newest: the
/// check that its holder is over is made on the snapshot, and holds only for a key that is the same in both.
macro_rules! retried_rows {
    ($row:path, $picked:tt, $ttl:tt, $rest:tt, $($argument:tt)*) => {
        sqlx::query_as!(
            $row,
            r#"
            WITH "# + $picked + r#"
            , seen AS MATERIALIZED (
                SELECT k.task_name, k.idempotency_key, k.task_id, k.expires_at
                  FROM task_keys k
                 WHERE (k.task_name, k.idempotency_key) IN (SELECT task_name, idempotency_key FROM picked)
            ), candidate AS (
                -- one for each key: its holder, if that is among them
                SELECT DISTINCT ON (task_name, idempotency_key) p.id, task_name, idempotency_key, request_fingerprint
                  FROM picked p LEFT JOIN seen s USING (task_name, idempotency_key)
                 WHERE idempotency_key IS NOT NULL
                 ORDER BY task_name, idempotency_key, p.id = s.task_id DESC NULLS LAST, p.id
            ), retaken AS (
                INSERT INTO task_keys AS k (task_name, idempotency_key, task_id, fingerprint, expires_at)
                SELECT task_name, idempotency_key, id, request_fingerprint, now() + make_interval(secs => "# + $ttl + r#")
                  FROM candidate
                 ORDER BY task_name, idempotency_key
                    ON CONFLICT (task_name, idempotency_key) DO UPDATE
                   SET task_id = excluded.task_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
                 WHERE k.task_id = excluded.task_id
                    -- from a task that is over, and only if the key is still as this snapshot shows it
                    OR (EXISTS (SELECT FROM seen s
                                 WHERE (s.task_name, s.idempotency_key, s.task_id, s.expires_at)
                                     = (k.task_name, k.idempotency_key, k.task_id, k.expires_at))
                        AND NOT EXISTS (SELECT FROM tasks holder
                                         WHERE holder.id = k.task_id AND holder.status <> 'dead_letter'))
                RETURNING k.task_id
            ), free AS (
                SELECT id, status FROM picked WHERE idempotency_key IS NULL OR id IN (SELECT task_id FROM retaken)
            ), revived AS (
                UPDATE tasks t
                   SET status = 'pending', attempts = 0, crash_count = 0, reason = NULL, error = NULL, progress = NULL,
                       worker_id = NULL, started_at = NULL, cancel_requested_at = NULL, run_at = NULL,
                       enqueued_at = now(), updated_at = now()
                  FROM free f
                 WHERE t.id = f.id AND f.status = 'dead_letter'
                RETURNING t.id, t.task_name, t.queue, t.priority
            ), "# + $rest,
            $($argument)*
        )
    };
}
pub(super) use retried_rows;

/// A task that is pending again.
struct Revived {
    task_name: String,
    queue: QueueName,
    priority: Priority,
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
    let revived = retried_rows!(
        Revived,
        r#"
            dead AS MATERIALIZED (
                SELECT id, task_name, idempotency_key, request_fingerprint, status
                  FROM tasks
                 WHERE id = $1 AND status = 'dead_letter' AND workflow_id IS NULL
                   FOR NO KEY UPDATE
            ), cancelled AS MATERIALIZED (
                SELECT id, task_name, idempotency_key, request_fingerprint, status
                  FROM finished_tasks
                 WHERE id = $1 AND completed_at >= $2 AND status = 'cancelled' AND workflow_id IS NULL
                   FOR NO KEY UPDATE
            ), picked AS (
                SELECT * FROM dead UNION ALL SELECT * FROM cancelled
            )"#,
        "$3",
        r#"
            taken_out AS (
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
                RETURNING task_name, queue, priority
            ), counted AS (
                INSERT INTO task_total_deltas (task_name, queue, event, tasks)
                SELECT task_name, queue, 'dead_letter_retried', 1 FROM revived
                UNION ALL
                SELECT task_name, queue, 'cancelled_retried', 1 FROM moved
            ), noted AS (
                INSERT INTO task_events (task_id, from_status, to_status, reason, actor)
                SELECT id, status, 'pending', 'retried', $4 FROM free
            )
            SELECT task_name AS "task_name!", queue AS "queue!: QueueName", priority AS "priority!" FROM revived
             UNION ALL
            SELECT task_name, queue, priority FROM moved
        "#,
        id as _,
        earliest_end(id),
        key_ttl_seconds,
        actor,
    )
    .fetch_optional(db)
    .await?;
    match revived {
        Some(row) => {
            let hint = Hint::new(id, row.queue, row.task_name).with_priority(row.priority);
            Ok(Retried::Pending(hint))
        }
        None => rejection(db, id).await,
    }
}

/// Returns the reason why a retry changed no rows.
async fn rejection(db: impl PgExecutor<'_> + Copy, id: TaskId) -> Result<Retried> {
    if let Some(workflow) = workflow_of(db, id).await? {
        return Ok(Retried::OfWorkflow(workflow));
    }
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
