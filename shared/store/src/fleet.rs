//! The task types that live workers register, by queue.

use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::QueueName;

/// Live workers that serve the same queues and register the same task types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The queues that they serve.
    pub queues: Vec<QueueName>,
    /// The task types that they register.
    pub task_names: Vec<String>,
    /// Whether all of them pop by type when a queue is split.
    pub pops_by_type: bool,
}

/// Returns the live workers, grouped by the queues and types that they serve. A worker whose last heartbeat
/// is older than `timeout_seconds` is left out.
pub async fn groups(db: impl PgExecutor<'_>, timeout_seconds: f64) -> Result<Vec<Group>> {
    sqlx::query_as!(
        Group,
        r#"
        SELECT queues AS "queues: Vec<QueueName>", task_names, bool_and(pops_by_type) AS "pops_by_type!"
          FROM workers
         WHERE status = 'alive' AND last_heartbeat > now() - make_interval(secs => $1)
         GROUP BY queues, task_names
        "#,
        timeout_seconds,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}
