//! Reads of tasks in any state. Only this module knows that they are in two tables (through the view
//! `task_records`): one statement is one snapshot, so a task that moves meanwhile is seen exactly once.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::{QueueName, TaskId, TaskStatus};

/// The whole record of a task.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the columns of the table, explained there and in the contract of the HTTP API"
)]
pub struct TaskRecord {
    pub id: TaskId,
    pub task_name: String,
    pub queue: QueueName,
    pub priority: i16,
    pub parameters: String,
    pub metadata: String,
    pub tags: Vec<String>,
    pub status: TaskStatus,
    pub runs: i32,
    pub attempts: i32,
    pub max_attempts: i32,
    pub crash_count: i32,
    pub worker_id: Option<String>,
    pub idempotency_key: Option<String>,
    pub correlation_id: String,
    pub timeout_seconds: f64,
    pub progress: Option<String>,
    pub error: Option<String>,
    pub reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub enqueued_at: Option<DateTime<Utc>>,
    pub run_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub updated_at: DateTime<Utc>,
    pub result: Option<String>,
    pub completed_at: Option<DateTime<Utc>>,
    pub workflow_id: Option<TaskId>,
    pub step: Option<String>,
    pub item: Option<i32>,
}

/// Selects whole records; the rest of the statement begins at `FROM`.
macro_rules! select_records {
    ($rest:tt, $($argument:tt)*) => {
        sqlx::query_as!(
            TaskRecord,
            r#"SELECT id AS "id!: TaskId", task_name AS "task_name!", queue AS "queue!: QueueName",
                      priority AS "priority!", parameters::text AS "parameters!", metadata::text AS "metadata!",
                      tags AS "tags!", status AS "status!: TaskStatus", runs AS "runs!", attempts AS "attempts!",
                      max_attempts AS "max_attempts!", crash_count AS "crash_count!", worker_id, idempotency_key,
                      correlation_id AS "correlation_id!", timeout_seconds AS "timeout_seconds!",
                      progress::text AS progress, error, reason, created_at AS "created_at!", enqueued_at, run_at,
                      started_at, updated_at AS "updated_at!", result::text AS result, completed_at,
                      workflow_id AS "workflow_id: TaskId", step, item
               "# + $rest,
            $($argument)*
        )
    };
}
pub(super) use select_records;

/// Returns the earliest time at which a task with this id can have ended: the time in its id minus a day, for
/// clocks that differ. Postgres prunes the partitions before.
pub(super) fn earliest_end(id: TaskId) -> DateTime<Utc> {
    const DAY_MILLIS: i64 = 24 * 3600 * 1000;
    DateTime::from_timestamp_millis(id.unix_millis() - DAY_MILLIS).unwrap_or_default()
}

/// Returns the record of one task; `None` if it does not exist.
pub async fn get(db: impl PgExecutor<'_>, id: TaskId) -> Result<Option<TaskRecord>> {
    select_records!(
        "FROM task_records WHERE id = $1 AND ends >= $2",
        id as _,
        earliest_end(id)
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// Returns the state of one task; `None` if it does not exist.
pub async fn status_of(db: impl PgExecutor<'_>, id: TaskId) -> Result<Option<TaskStatus>> {
    sqlx::query_scalar!(
        r#"SELECT status AS "status!: TaskStatus" FROM task_records WHERE id = $1 AND ends >= $2"#,
        id as _,
        earliest_end(id),
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// Returns the workflow that a task is a step of; `None` if it is a plain task or does not exist.
pub async fn workflow_of(db: impl PgExecutor<'_>, id: TaskId) -> Result<Option<TaskId>> {
    sqlx::query_scalar!(
        r#"SELECT workflow_id AS "workflow: TaskId" FROM task_records WHERE id = $1 AND ends >= $2"#,
        id as _,
        earliest_end(id),
    )
    .fetch_optional(db)
    .await
    .map(Option::flatten)
    .map_err(Error::from)
}

/// Returns the queue of one task; `None` if it does not exist.
pub async fn queue_of(db: impl PgExecutor<'_>, id: TaskId) -> Result<Option<QueueName>> {
    sqlx::query_scalar!(
        r#"SELECT queue AS "queue!: QueueName" FROM task_records WHERE id = $1 AND ends >= $2"#,
        id as _,
        earliest_end(id),
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// Returns those of `ids` that are terminal or do not exist.
pub async fn finished_or_missing(db: impl PgExecutor<'_>, ids: &[TaskId]) -> Result<Vec<TaskId>> {
    sqlx::query_scalar!(
        r#"
        SELECT asked.id AS "id!: TaskId"
          FROM UNNEST($1::uuid[]) AS asked(id)
         WHERE NOT EXISTS (SELECT FROM tasks t WHERE t.id = asked.id AND t.status <> 'dead_letter')
        "#,
        ids as _,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// The filter of a list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only tasks in this state.
    pub status: Option<TaskStatus>,
    /// Only tasks of these queues.
    pub queues: Option<Vec<QueueName>>,
    /// Only tasks of this type.
    pub task_name: Option<String>,
    /// Only tasks with this tag.
    pub tag: Option<String>,
    /// Only tasks that this worker runs or finished.
    pub worker_id: Option<String>,
    /// Only tasks created at this time or later.
    pub created_after: Option<DateTime<Utc>>,
    /// Only tasks created before this time.
    pub created_before: Option<DateTime<Utc>>,
}

impl Filter {
    /// Returns which of the two tables can hold a match; `None` for both.
    fn finished(&self) -> Option<bool> {
        match self.status? {
            TaskStatus::Completed
            | TaskStatus::Cancelled
            | TaskStatus::ResolvedManually
            | TaskStatus::Skipped => Some(true),
            // that of a step whose workflow handled it is a finished task
            TaskStatus::DeadLetter => None,
            TaskStatus::Waiting
            | TaskStatus::Scheduled
            | TaskStatus::Pending
            | TaskStatus::Running
            | TaskStatus::RetryScheduled => Some(false),
        }
    }

    fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.queues.is_none()
            && self.task_name.is_none()
            && self.tag.is_none()
            && self.worker_id.is_none()
            && self.created_after.is_none()
            && self.created_before.is_none()
    }
}

/// One page of a list, newest first.
#[derive(Debug)]
pub struct Page {
    /// The tasks; may be fewer than the limit, even none, before the end of the list.
    pub tasks: Vec<TaskRecord>,
    /// The next page begins below this id, which need not be the id of a task; `None` at the end of the list.
    pub next: Option<TaskId>,
}

/// The maximum number of rows that one page reads, so that a filter with few matches does not read the whole
/// history.
const SCANNED_ROWS: i64 = 10_000;

/// Lists the tasks that match `filter`, newest first, from below `before`.
pub async fn list(
    db: impl PgExecutor<'_> + Copy,
    filter: &Filter,
    before: Option<TaskId>,
    limit: i64,
) -> Result<Page> {
    const DAY_MILLIS: i64 = 24 * 3600 * 1000;
    let scanned = if filter.is_empty() { limit } else { SCANNED_ROWS };
    // `created_at` is Postgres's clock, the time in an id the server's: they may differ by up to a day
    let ceiling = filter
        .created_before
        .map(|time| TaskId::first_at(time.timestamp_millis() + DAY_MILLIS));
    let below = before.into_iter().chain(ceiling).min().unwrap_or(TaskId::MAX);
    let floor = filter.created_after.map_or(TaskId::MIN, |time| {
        TaskId::first_at(time.timestamp_millis() - DAY_MILLIS)
    });
    // The end of the scan is settled first: were it looked up after the page, tasks that come or go between
    // the two statements would be left out or listed twice.
    let scan_end = scan_end(db, below, floor, filter.finished(), scanned).await?;
    let scan_end = scan_end.map(first_of_its_time);
    let tasks = select_records!(
        r#"FROM task_records
          WHERE id < $1 AND id >= $2 AND ($3::boolean IS NULL OR finished = $3)
            AND ($4::task_status IS NULL OR status = $4)
            AND ($5::text[] IS NULL OR queue = ANY ($5))
            AND ($6::text IS NULL OR task_name = $6)
            AND ($7::text IS NULL OR $7 = ANY (tags))
            AND ($8::text IS NULL OR worker_id = $8)
            AND ($9::timestamptz IS NULL OR created_at >= $9)
            AND ($10::timestamptz IS NULL OR created_at < $10)
          ORDER BY id DESC
          LIMIT $11"#,
        below as _,
        scan_end.unwrap_or(floor) as _,
        filter.finished(),
        filter.status as _,
        filter.queues.as_deref() as _,
        filter.task_name,
        filter.tag,
        filter.worker_id,
        filter.created_after,
        filter.created_before,
        limit,
    )
    .fetch_all(db)
    .await?;
    let full = i64::try_from(tasks.len()) == Ok(limit);
    let next = tasks.last().filter(|_| full).map(|last| last.id).or(scan_end);
    Ok(Page { tasks, next })
}

/// Returns the end of a page that reads rows down to `id`: the whole millisecond, so that a cursor made from
/// it does not reveal the id of a task that its reader may not see.
pub(super) fn first_of_its_time(id: TaskId) -> TaskId {
    TaskId::first_at(id.unix_millis())
}

/// Returns the id of the last row that a page has to read; `None` if the list ends before.
async fn scan_end(
    db: impl PgExecutor<'_>,
    below: TaskId,
    floor: TaskId,
    finished: Option<bool>,
    scanned: i64,
) -> Result<Option<TaskId>> {
    sqlx::query_scalar!(
        r#"
        SELECT id AS "id!: TaskId"
          FROM task_records
         WHERE id < $1 AND id >= $2 AND ($3::boolean IS NULL OR finished = $3)
         ORDER BY id DESC
        OFFSET $4::bigint - 1
         LIMIT 1
        "#,
        below as _,
        floor as _,
        finished,
        scanned,
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}
