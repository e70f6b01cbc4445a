//! Bulk operations on dead letters: list, retry, purge.
//!
//! The `updated_at` of a dead letter is the time of its death: only an operator's request changes such a row.
//! A bulk operation therefore begins with [`matched`], and its batches take only tasks that had died by then,
//! so a task that dies again meanwhile is not taken twice. Rows that another session has locked are skipped.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::operator_retry::retried_rows;
use super::records::{Page, TaskRecord, first_of_its_time, select_records};
use super::{Error, Result};
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{Priority, QueueName, TaskId, TaskStatus};

/// A filter of dead letters; an empty one matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those of this type.
    pub task_name: Option<String>,
    /// Only those of these queues.
    pub queues: Option<Vec<QueueName>>,
    /// Only those that died for this reason.
    pub reason: Option<DeadLetterReason>,
    /// Only those that died before this time.
    pub before: Option<DateTime<Utc>>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.task_name.is_none() && self.queues.is_none() && self.reason.is_none() && self.before.is_none()
    }

    fn reason(&self) -> Option<&'static str> {
        self.reason.map(DeadLetterReason::as_str)
    }
}

/// The starting point of a bulk operation.
#[derive(Debug, Clone, Copy)]
pub struct Matched {
    /// The number of dead letters that match.
    pub count: i64,
    /// The time of this count, by Postgres's clock.
    pub as_of: DateTime<Utc>,
}

/// The progress of a bulk operation.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// The next batch begins above this id.
    pub above: TaskId,
    /// The last id.
    pub up_to: TaskId,
    /// Only tasks that had died by this time are taken.
    pub as_of: DateTime<Utc>,
}

/// A dead letter that a batch locked.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its id.
    pub id: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Its type.
    pub task_name: String,
    /// Its priority.
    pub priority: Priority,
    /// Whether it was changed. If not, another live task holds its idempotency key.
    pub done: bool,
}

/// A statement over one batch, which it locks first, in id order. `$statement` is the macro of the statement:
/// it gets the CTE `picked` with the batch, then `$part`.
macro_rules! over_batch {
    ($statement:ident, ($filter:expr, $position:expr, $limit:expr), ($($part:tt)*), $($argument:tt)*) => {
        $statement!(
            Taken,
            r#"
            picked AS MATERIALIZED (
                SELECT id, queue, task_name, priority, idempotency_key, request_fingerprint, status
                  FROM tasks
                 WHERE status = 'dead_letter' AND workflow_id IS NULL AND id > $1 AND updated_at <= $2
                   AND ($3::text IS NULL OR task_name = $3)
                   AND ($4::text[] IS NULL OR queue = ANY ($4))
                   AND ($5::text IS NULL OR reason = $5)
                   AND ($6::timestamptz IS NULL OR updated_at < $6) AND id <= $8
                 ORDER BY id
                 LIMIT $7
                   FOR NO KEY UPDATE SKIP LOCKED
            )"#,
            $($part)*,
            $position.above as _,
            $position.as_of,
            $filter.task_name,
            $filter.queues.as_deref() as _,
            $filter.reason(),
            $filter.before,
            $limit,
            $position.up_to as _,
            $($argument)*
        )
    };
}

/// Deletes the tasks of the CTE `picked`.
macro_rules! purged_rows {
    ($row:path, $picked:tt, $rest:tt, $($argument:tt)*) => {
        sqlx::query_as!($row, "WITH " + $picked + ", " + $rest, $($argument)*)
    };
}

/// The maximum number of rows that one page reads, so that a filter with few matches does not read all dead
/// letters.
const SCANNED_ROWS: i64 = 10_000;

/// Lists the dead letters that match `filter`, newest first, from below `before`.
pub async fn list(
    db: impl PgExecutor<'_> + Copy,
    filter: &Filter,
    before: Option<TaskId>,
    limit: i64,
) -> Result<Page> {
    // without a cursor the list begins at the newest id
    let below = before.unwrap_or(TaskId::MAX);
    // The end of the scan is fixed before the page is read, as in the list of all tasks: rows that come or go
    // between the two statements are then neither skipped nor repeated.
    let scanned = if filter.is_empty() { limit } else { SCANNED_ROWS };
    let scan_end = scan_end(db, below, scanned).await?.map(first_of_its_time);
    let tasks = select_records!(
        r#"FROM task_records
          WHERE NOT finished AND status = 'dead_letter' AND id < $1 AND id >= $2
            AND ($3::text IS NULL OR task_name = $3)
            AND ($4::text[] IS NULL OR queue = ANY ($4))
            AND ($5::text IS NULL OR reason = $5)
            AND ($6::timestamptz IS NULL OR updated_at < $6)
          ORDER BY id DESC
          LIMIT $7"#,
        below as _,
        scan_end.unwrap_or(TaskId::MIN) as _,
        filter.task_name,
        filter.queues.as_deref() as _,
        filter.reason(),
        filter.before,
        limit,
    )
    .fetch_all(db)
    .await?;
    let full = i64::try_from(tasks.len()) == Ok(limit);
    // a short page ends where the scan ended, not at its last match: the rows between were read already
    let next = tasks.last().filter(|_| full).map(|last| last.id).or(scan_end);
    Ok(Page { tasks, next })
}

/// Returns the id of the last row that a page has to read; `None` if the list ends before.
async fn scan_end(db: impl PgExecutor<'_>, below: TaskId, scanned: i64) -> Result<Option<TaskId>> {
    sqlx::query_scalar!(
        r#"
        SELECT id AS "id: TaskId" FROM tasks WHERE status = 'dead_letter' AND id < $1
         ORDER BY id DESC OFFSET $2::bigint - 1 LIMIT 1
        "#,
        below as _,
        scanned,
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// Counts the dead letters that match `filter`.
pub async fn matched(db: impl PgExecutor<'_>, filter: &Filter) -> Result<Matched> {
    sqlx::query_as!(
        Matched,
        r#"
        SELECT count(*) AS "count!", now() AS "as_of!"
          FROM tasks
         WHERE status = 'dead_letter' AND workflow_id IS NULL
           AND ($1::text IS NULL OR task_name = $1)
           AND ($2::text[] IS NULL OR queue = ANY ($2))
           AND ($3::text IS NULL OR reason = $3)
           AND ($4::timestamptz IS NULL OR updated_at < $4)
        "#,
        filter.task_name,
        filter.queues.as_deref() as _,
        filter.reason(),
        filter.before,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}

/// Makes up to `limit` of the dead letters that match `filter` pending again, in id order, in the way of
/// [`operator_retry::retry`](super::operator_retry::retry). Of several with the same idempotency key only one
/// runs again. The caller pushes the hints of those done. `actor` is the user who asked, for the history.
pub async fn retry_batch(
    db: impl PgExecutor<'_>,
    filter: &Filter,
    position: Position,
    limit: i64,
    actor: &str,
    key_ttl_seconds: f64,
) -> Result<Vec<Taken>> {
    // lock order: the tasks of the batch, then their keys in key order; a retry of one task does the same
    over_batch!(
        retried_rows,
        (filter, position, limit),
        (
            "$9",
            r#"
            counted AS (
                INSERT INTO task_total_deltas (task_name, queue, event, tasks)
                SELECT task_name, queue, 'dead_letter_retried', count(*) FROM revived GROUP BY task_name, queue
            ), noted AS (
                INSERT INTO task_events (task_id, from_status, to_status, reason, actor)
                SELECT id, 'dead_letter', 'pending', 'retried', $10 FROM revived
            )
            SELECT p.id AS "id: TaskId", p.queue AS "queue: QueueName", p.task_name, p.priority,
                   r.id IS NOT NULL AS "done!"
              FROM picked p LEFT JOIN revived r USING (id)
             ORDER BY p.id
            "#
        ),
        key_ttl_seconds,
        actor,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Deletes up to `limit` of the dead letters that match `filter`, in id order, with the idempotency keys that
/// they hold. An event with the last error of each stays in the history. `actor` is the user who asked.
pub async fn purge_batch(
    db: impl PgExecutor<'_>,
    filter: &Filter,
    position: Position,
    limit: i64,
    actor: &str,
) -> Result<Vec<Taken>> {
    // lock order: the tasks of the batch, then their keys in key order; a retry of one task does the same
    over_batch!(
        purged_rows,
        (filter, position, limit),
        (r#"
        held AS MATERIALIZED (
            SELECT k.task_name, k.idempotency_key
              FROM task_keys k
              JOIN picked p ON (k.task_name, k.idempotency_key, k.task_id) = (p.task_name, p.idempotency_key, p.id)
             ORDER BY k.task_name, k.idempotency_key
               FOR UPDATE OF k
        ), let_go AS (
            DELETE FROM task_keys k USING held h
             WHERE (k.task_name, k.idempotency_key) = (h.task_name, h.idempotency_key)
        ), gone AS (
            DELETE FROM tasks t USING picked p WHERE t.id = p.id
            RETURNING t.id, t.task_name, t.queue, t.runs, t.attempts, t.error
        ), counted AS (
            INSERT INTO task_total_deltas (task_name, queue, event, tasks)
            SELECT task_name, queue, 'purged', count(*) FROM gone GROUP BY task_name, queue
        ), noted AS (
            INSERT INTO task_events (task_id, from_status, to_status, run, attempt, reason, error, actor)
            SELECT id, 'dead_letter', 'dead_letter', runs, attempts, 'purged', error, $9 FROM gone
        )
        SELECT p.id AS "id: TaskId", p.queue AS "queue: QueueName", p.task_name, p.priority,
               g.id IS NOT NULL AS "done!"
          FROM picked p LEFT JOIN gone g USING (id)
         ORDER BY p.id
        "#),
        actor,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}
