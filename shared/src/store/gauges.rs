//! What the leader's gauges show.

use sqlx::PgExecutor;

use super::Result;

/// The most dead letters that are counted: that many or more.
pub const DEAD_LETTERS_MAX: i64 = 10_000;

/// The fleet and its work at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Workers that live.
    pub workers: i64,
    /// Queues in which something waits and that no live worker serves.
    pub queues_without_workers: i64,
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
               (SELECT count(*) FROM queues q
                 WHERE EXISTS (SELECT FROM tasks t WHERE t.queue = q.name AND t.status = 'pending')
                   AND NOT EXISTS (SELECT FROM live WHERE q.name = ANY (live.queues))) AS "queues_without_workers!",
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
        "#,
        timeout_seconds,
        DEAD_LETTERS_MAX,
    )
    .fetch_one(db)
    .await
}
