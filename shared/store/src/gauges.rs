//! The values of the leader's gauges.

use sqlx::PgExecutor;

use super::{Error, Result};

/// The maximum number of dead letters that are counted; a larger number is reported as this one.
pub const DEAD_LETTERS_MAX: i64 = 10_000;
/// The maximum number of pending tasks that are counted.
pub const PENDING_MAX: i64 = 1_000_000;

/// The fleet and its work at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Live workers.
    pub workers: i64,
    /// The states of the registered workers.
    pub worker_states: Vec<String>,
    /// The number of workers in each of these states.
    pub worker_counts: Vec<i64>,
    /// Every declared queue.
    pub queues: Vec<String>,
    /// Whether each of them is paused.
    pub queues_paused: Vec<bool>,
    /// The number of live workers that serve each of them.
    pub queue_workers: Vec<i64>,
    /// The age of the oldest pending task of each of them, in seconds; below 0 without any.
    pub queue_ages_seconds: Vec<f64>,
    /// The time for which the oldest due task has not been promoted, in seconds; 0 without any.
    pub promotion_lag_seconds: f64,
    /// Dead letters, counted no further than [`DEAD_LETTERS_MAX`].
    pub dead_letters: i64,
    /// The types of the running tasks.
    pub running_types: Vec<String>,
    /// The number of running tasks of each of them.
    pub running_counts: Vec<i64>,
    /// Age in seconds of the oldest snapshot that keeps vacuum from removing dead rows of this database; 0
    /// without any. Sessions of other users are visible to members of `pg_read_all_stats` only.
    pub oldest_snapshot_seconds: f64,
}

impl Reading {
    /// Returns the number of queues that have pending tasks and are served by no live worker.
    pub fn queues_without_workers(&self) -> usize {
        // an age below 0 stands for a queue without pending tasks
        let queues = self.queue_ages_seconds.iter().zip(&self.queue_workers);
        queues
            .filter(|(age, workers)| **age >= 0.0 && **workers == 0)
            .count()
    }

    /// Whether any queue has pending tasks.
    pub fn something_is_pending(&self) -> bool {
        self.queue_ages_seconds.iter().any(|age| *age >= 0.0)
    }
}

/// Reads all values in one statement. A worker whose last heartbeat is older than `timeout_seconds` does not
/// count as live.
pub async fn read(db: impl PgExecutor<'_>, timeout_seconds: f64) -> Result<Reading> {
    sqlx::query_as!(
        Reading,
        r#"
        WITH live AS MATERIALIZED (
            SELECT queues FROM workers
             WHERE status = 'alive' AND last_heartbeat > now() - make_interval(secs => $1)
        )
        SELECT (SELECT count(*) FROM live) AS "workers!",
               COALESCE(fleet.states, '{}') AS "worker_states!", COALESCE(fleet.counts, '{}') AS "worker_counts!",
               COALESCE(known.names, '{}') AS "queues!", COALESCE(known.paused, '{}') AS "queues_paused!",
               COALESCE(known.workers, '{}') AS "queue_workers!", COALESCE(known.ages, '{}') AS "queue_ages_seconds!",
               COALESCE((SELECT GREATEST(extract(epoch FROM now() - min(run_at)), 0)::double precision
                           FROM tasks WHERE status IN ('scheduled', 'retry_scheduled')), 0) AS "promotion_lag_seconds!",
               (SELECT count(*) FROM (SELECT FROM tasks WHERE status = 'dead_letter' LIMIT $2) AS letters)
                   AS "dead_letters!",
               COALESCE(running.types, '{}') AS "running_types!",
               COALESCE(running.counts, '{}') AS "running_counts!",
               -- a vacuum blocks no cleanup; a prepared transaction blocks it as an open one does
               COALESCE(extract(epoch FROM clock_timestamp() - LEAST(
                   (SELECT min(xact_start) FROM pg_stat_activity
                     WHERE backend_xmin IS NOT NULL AND datname = current_database()
                       AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'),
                   (SELECT min(prepared) FROM pg_prepared_xacts WHERE database = current_database())
               ))::double precision, 0) AS "oldest_snapshot_seconds!"
          FROM (SELECT array_agg(task_name) AS types, array_agg(count) AS counts
                  FROM (SELECT task_name, count(*) FROM tasks WHERE status = 'running' GROUP BY task_name) AS grouped
               ) AS running
         CROSS JOIN (SELECT array_agg(status) AS states, array_agg(count) AS counts
                       FROM (SELECT status::text, count(*) FROM workers GROUP BY status) AS grouped
                    ) AS fleet
         CROSS JOIN (SELECT array_agg(q.name) AS names, array_agg(q.paused_at IS NOT NULL) AS paused,
                            array_agg((SELECT count(*) FROM live WHERE q.name = ANY (live.queues))) AS workers,
                            array_agg(COALESCE((SELECT CASE WHEN min(t.enqueued_at) IS NOT NULL
                                                       THEN GREATEST(extract(epoch FROM now() - min(t.enqueued_at)), 0) END
                                                  FROM tasks t
                                                 WHERE t.queue = q.name AND t.status = 'pending'), -1)
                                          ::double precision) AS ages
                       FROM queues q
                    ) AS known
        "#,
        timeout_seconds,
        DEAD_LETTERS_MAX,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}

/// The number of pending tasks of a type in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingType {
    /// The queue.
    pub queue: String,
    /// The type.
    pub task_name: String,
    /// The number of its tasks.
    pub count: i64,
}

/// Returns the number of pending tasks of each queue and type, the largest first. Reads at most
/// [`PENDING_MAX`] rows, which bounds the cost.
pub async fn pending_types(db: impl PgExecutor<'_>) -> Result<Vec<PendingType>> {
    sqlx::query_as!(
        PendingType,
        r#"
        SELECT queue, task_name, count(*) AS "count!"
          FROM (SELECT queue, task_name FROM tasks WHERE status = 'pending' LIMIT $1) AS bounded
         GROUP BY queue, task_name
         ORDER BY count(*) DESC
        "#,
        PENDING_MAX,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}
