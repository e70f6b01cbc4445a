//! What the leader's gauges show.

use sqlx::PgExecutor;

use super::Result;

/// The most dead letters that are counted: that many or more.
pub const DEAD_LETTERS_MAX: i64 = 10_000;
/// The most pending tasks that are counted.
pub const PENDING_MAX: i64 = 1_000_000;

/// The fleet and its work at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Workers that live.
    pub workers: i64,
    /// The states that workers on record are in.
    pub worker_states: Vec<String>,
    /// How many workers are in each of them.
    pub worker_counts: Vec<i64>,
    /// Every queue that was ever declared.
    pub queues: Vec<String>,
    /// Whether each of them is paused.
    pub queues_paused: Vec<bool>,
    /// How many live workers serve each of them.
    pub queue_workers: Vec<i64>,
    /// How long the oldest pending task of each of them has waited; below 0 without any.
    pub queue_ages_seconds: Vec<f64>,
    /// How long the oldest task whose time has come is due without being pending; 0 without any.
    pub promotion_lag_seconds: f64,
    /// Dead letters that wait for an operator, counted no further than [`DEAD_LETTERS_MAX`].
    pub dead_letters: i64,
    /// The types of the running tasks.
    pub running_types: Vec<String>,
    /// How many tasks of each of them run.
    pub running_counts: Vec<i64>,
    /// Age of the oldest snapshot that keeps dead rows of this database from being cleaned up; 0 without any. What sessions of
    /// other users do is seen by members of `pg_read_all_stats` only.
    pub oldest_snapshot_seconds: f64,
}

impl Reading {
    /// Queues in which something waits and that no live worker serves.
    pub fn queues_without_workers(&self) -> usize {
        let queues = self.queue_ages_seconds.iter().zip(&self.queue_workers);
        queues
            .filter(|(age, workers)| **age >= 0.0 && **workers == 0)
            .count()
    }

    /// Whether anything waits.
    pub fn something_is_pending(&self) -> bool {
        self.queue_ages_seconds.iter().any(|age| *age >= 0.0)
    }
}

/// Reads everything in one statement. A worker silent for longer than `timeout_seconds` does not count as live.
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
               -- a vacuum holds nobody up, and a prepared transaction holds up like an open one
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

/// Returns how many tasks of each queue and type are pending, the largest numbers first. No more than [`PENDING_MAX`] rows are
/// read, which bounds what this costs.
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
}
