//! The declared queues.

use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::QueueName;
use tasker_core::task::limits::QUEUES;

/// The maximum number of tasks due later that are read to count them by queue.
pub const DUE_MAX: i64 = 100_000;

/// The state of a queue according to Postgres.
#[derive(Debug, Clone)]
pub struct QueueState {
    /// Its name.
    pub name: QueueName,
    /// Tasks that wait for a worker.
    pub pending: i64,
    /// Tasks that workers run.
    pub running: i64,
    /// Tasks that are scheduled for later. Of all queues together only the [`DUE_MAX`] tasks due next are
    /// counted, here and in `retry`.
    pub scheduled: i64,
    /// Tasks that wait for their next attempt.
    pub retry: i64,
    /// The age of the oldest pending task.
    pub oldest_age_seconds: Option<f64>,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Live workers that serve it.
    pub workers: i64,
}

/// Declares the queues that a process is configured with, so that they are listed and can be paused.
pub async fn declare(db: impl PgExecutor<'_>, names: &[QueueName]) -> Result<()> {
    sqlx::query!(
        "INSERT INTO queues (name) SELECT * FROM UNNEST($1::text[]) AS t(name) ORDER BY name ON CONFLICT DO NOTHING",
        names as _,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// The result of declaring one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    /// The queue is new.
    Created,
    /// The queue was declared before.
    Existed,
    /// The limit of [`QUEUES`] queues is reached.
    TooMany,
}

/// Declares the queue `name`, unless the limit is reached. Concurrent calls may each exceed the limit by one.
pub async fn create(db: impl PgExecutor<'_>, name: &QueueName) -> Result<Declared> {
    let created = sqlx::query_scalar!(
        r#"
        INSERT INTO queues AS q (name)
        SELECT $1::text
         WHERE EXISTS (SELECT FROM queues WHERE name = $1) OR (SELECT count(*) FROM queues) < $2
            -- an update that changes nothing returns the row, where DO NOTHING would not
            ON CONFLICT (name) DO UPDATE SET name = q.name
        RETURNING xmax = 0 AS "created!"
        "#,
        name as _,
        i64::try_from(QUEUES).unwrap_or(i64::MAX),
    )
    .fetch_optional(db)
    .await?;
    // `xmax` is 0 in a row that was inserted, not updated
    Ok(match created {
        Some(true) => Declared::Created,
        Some(false) => Declared::Existed,
        None => Declared::TooMany,
    })
}

/// Returns the declared queues in the order of their names.
pub async fn names(db: impl PgExecutor<'_>) -> Result<Vec<QueueName>> {
    sqlx::query_scalar!(r#"SELECT name AS "name: QueueName" FROM queues ORDER BY name"#)
        .fetch_all(db)
        .await
        .map_err(Error::from)
}

/// Returns the states of the queues `names`, in that order. A worker whose last heartbeat is older than
/// `timeout_seconds` does not count as live.
pub async fn states(
    db: impl PgExecutor<'_>,
    names: &[QueueName],
    timeout_seconds: f64,
) -> Result<Vec<QueueState>> {
    sqlx::query_as!(
        QueueState,
        r#"
        WITH due AS MATERIALIZED (
            SELECT queue, count(*) FILTER (WHERE status = 'scheduled') AS scheduled,
                   count(*) FILTER (WHERE status = 'retry_scheduled') AS retry
              FROM (SELECT queue, status FROM tasks
                     WHERE status IN ('scheduled', 'retry_scheduled') ORDER BY run_at LIMIT $3) AS bounded
             GROUP BY queue
        )
        SELECT q.name AS "name!: QueueName",
               (SELECT count(*) FROM tasks t WHERE t.queue = q.name AND t.status = 'pending') AS "pending!",
               (SELECT count(*) FROM tasks t WHERE t.queue = q.name AND t.status = 'running') AS "running!",
               COALESCE(due.scheduled, 0) AS "scheduled!", COALESCE(due.retry, 0) AS "retry!",
               (SELECT extract(epoch FROM now() - min(t.enqueued_at))::double precision
                  FROM tasks t WHERE t.queue = q.name AND t.status = 'pending') AS oldest_age_seconds,
               EXISTS (SELECT FROM queues d WHERE d.name = q.name AND d.paused_at IS NOT NULL) AS "paused!",
               (SELECT count(*) FROM workers w
                 WHERE q.name = ANY (w.queues) AND w.status = 'alive'
                   AND w.last_heartbeat > now() - make_interval(secs => $2)) AS "workers!"
          FROM UNNEST($1::text[]) WITH ORDINALITY AS q(name, place)
          LEFT JOIN due ON due.queue = q.name
         ORDER BY q.place
        "#,
        names as _,
        timeout_seconds,
        DUE_MAX,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Pauses a queue: its tasks are not claimed until it is resumed. A paused queue keeps the time since which
/// it is paused.
pub async fn pause(db: impl PgExecutor<'_>, name: &QueueName) -> Result<()> {
    sqlx::query!(
        "INSERT INTO queues AS q (name, paused_at) VALUES ($1, now())
             ON CONFLICT (name) DO UPDATE SET paused_at = now() WHERE q.paused_at IS NULL",
        name as _,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// Resumes a queue; one that is not paused stays as it is.
pub async fn resume(db: impl PgExecutor<'_>, name: &QueueName) -> Result<()> {
    sqlx::query!(
        "UPDATE queues SET paused_at = NULL WHERE name = $1 AND paused_at IS NOT NULL",
        name as _,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// Returns those of `names` that are paused.
pub async fn paused(db: impl PgExecutor<'_>, names: &[QueueName]) -> Result<Vec<QueueName>> {
    sqlx::query_scalar!(
        r#"SELECT name AS "name: QueueName" FROM queues WHERE paused_at IS NOT NULL AND name = ANY ($1::text[])"#,
        names as _,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}
