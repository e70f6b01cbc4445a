//! The audit trail of a task. Its own row holds the current state, `task_events` the past transitions.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::{TaskId, TaskStatus};

/// A stored event.
#[derive(Debug, Clone)]
pub struct Event {
    /// The time of the transition.
    pub at: DateTime<Utc>,
    /// The state before; `None` if unknown.
    pub from: Option<TaskStatus>,
    /// The state after.
    pub to: TaskStatus,
    /// The run that it ended.
    pub run: Option<i32>,
    /// The attempt that it ended.
    pub attempt: Option<i32>,
    /// The worker that held the run.
    pub worker_id: Option<String>,
    /// The cause.
    pub reason: Option<String>,
    /// The error text of the attempt.
    pub error: Option<String>,
    /// The operator who requested it.
    pub actor: Option<String>,
    /// The time when the run that it ended was enqueued.
    pub enqueued_at: Option<DateTime<Utc>>,
    /// The start of the run that it ended.
    pub started_at: Option<DateTime<Utc>>,
}

/// The maximum number of events read for one task, so that a task retried by hand for years stays readable.
const EVENTS_MAX: i64 = 10_000;

/// Returns the stored events of a task, oldest first.
pub async fn events(db: impl PgExecutor<'_>, id: TaskId) -> Result<Vec<Event>> {
    sqlx::query_as!(
        Event,
        r#"
        SELECT at, from_status AS "from: TaskStatus", to_status AS "to: TaskStatus", run, attempt, worker_id, reason,
               error, actor, enqueued_at, started_at
          FROM task_events
         WHERE task_id = $1 AND at >= $2
         ORDER BY at, run NULLS FIRST
         LIMIT $3
        "#,
        id as _,
        super::records::earliest_end(id),
        EVENTS_MAX,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}
