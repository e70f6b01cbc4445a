//! Samples of each queue's load, for scaling: taken by the leader at intervals, read by every server.
//!
//! Workers report running totals with their heartbeats. The leader adds the growth to the last sample of each
//! queue, so a worker that leaves does not reduce the totals.

use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::QueueName;

/// The retention of samples.
pub const KEPT_SECONDS: f64 = 300.0;
/// The maximum number of pending tasks that are counted. For a larger backlog the length of the Redis list is
/// used, if known.
pub const BACKLOG_MAX: i64 = 10_000;
/// The maximum number of pending rows that are read to count those of some types.
pub const TYPES_READ_MAX: i64 = 1_000_000;

/// A sample of a queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Its age in seconds.
    pub age_seconds: f64,
    /// Tasks that waited for a worker, without those of types that no live worker of the queue registered.
    pub backlog: i64,
    /// Tasks that ran.
    pub running: i64,
    /// Running tasks of the queues that this queue's workers serve before it.
    pub running_before: i64,
    /// Slots of the live workers of the queue.
    pub slots: i64,
    /// Runs that had ended. Only differences between samples are meaningful, here and in the next field.
    pub ended: i64,
    /// The total duration of those runs in seconds.
    pub busy_seconds: f64,
}

/// The current state of a queue and its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueFacts {
    /// Its name.
    pub name: QueueName,
    /// Pending tasks, counted no further than [`BACKLOG_MAX`].
    pub pending: i64,
    /// Those of them that more of the present workers could run: their types are registered by a live worker
    /// of the queue. All of them while the queue has no workers.
    pub routable: i64,
    /// The age of the oldest pending task in seconds.
    pub oldest_age_seconds: Option<f64>,
    /// Tasks that run.
    pub running: i64,
    /// The average age of those runs in seconds.
    pub running_seconds: Option<f64>,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Live workers that serve it.
    pub workers: i64,
    /// Slots of those workers.
    pub slots: i64,
    /// Its samples, the oldest first.
    pub samples: Vec<Sample>,
}

impl QueueFacts {
    /// Returns the number of tasks that more of the present workers could run. `depth` is the length of the
    /// Redis list.
    pub fn backlog(&self, depth: Option<i64>) -> i64 {
        if self.pending < BACKLOG_MAX {
            return self.routable;
        }
        depth.unwrap_or(self.routable)
    }
}

/// Takes a sample of each of `queues` and deletes the expired ones. `depths` are the lengths of their Redis
/// lists, in the same order, and replace the count where that reaches [`BACKLOG_MAX`]. A worker whose last
/// heartbeat is older than `timeout_seconds` does not count as live.
///
/// Safe to run twice at once: each locks the workers whose totals have grown, the other skips them, so growth
/// is added once. Both samples are correct, except that runs which ended between them may be missing from the
/// later one.
pub async fn sample(
    db: impl PgExecutor<'_>,
    queues: &[QueueName],
    depths: &[Option<i64>],
    timeout_seconds: f64,
) -> Result<()> {
    sqlx::query!(
        r#"
        WITH grown AS MATERIALIZED (
            SELECT id, queues, ended, busy_seconds, ended_seen, busy_seconds_seen
              FROM workers
             WHERE ended <> ended_seen OR busy_seconds <> busy_seconds_seen
             ORDER BY id
               FOR NO KEY UPDATE SKIP LOCKED
        ), seen AS (
            UPDATE workers w SET ended_seen = g.ended, busy_seconds_seen = g.busy_seconds
              FROM grown g
             WHERE w.id = g.id
        ), growth AS (
            SELECT t.queue, sum(COALESCE(t.ended, 0) - COALESCE(t.ended_seen, 0))::bigint AS ended,
                   sum(COALESCE(t.busy, 0) - COALESCE(t.busy_seen, 0)) AS busy
              FROM grown g
             CROSS JOIN UNNEST(g.queues, g.ended, g.busy_seconds, g.ended_seen, g.busy_seconds_seen)
                        AS t(queue, ended, busy, ended_seen, busy_seen)
             GROUP BY t.queue
        ), fleet AS MATERIALIZED (
            SELECT DISTINCT queues, task_names FROM workers
             WHERE status = 'alive' AND last_heartbeat > now() - make_interval(secs => $3)
        ), runs AS MATERIALIZED (
            SELECT queue, worker_id, count(*) AS count FROM tasks WHERE status = 'running' GROUP BY queue, worker_id
        ), forgotten AS (
            DELETE FROM queue_samples WHERE at < now() - make_interval(secs => $4)
        )
        INSERT INTO queue_samples (queue, at, backlog, running, running_before, slots, ended, busy_seconds)
        SELECT a.queue, now(),
               CASE WHEN waits.pending < $5 THEN waits.routable ELSE COALESCE(a.depth, waits.routable) END,
               (SELECT COALESCE(sum(r.count), 0) FROM runs r WHERE r.queue = a.queue),
               (SELECT COALESCE(sum(r.count), 0)
                  FROM runs r
                  JOIN workers w ON w.id = r.worker_id
                 WHERE array_position(w.queues, r.queue) < array_position(w.queues, a.queue)),
               (SELECT COALESCE(sum(w.pool_size), 0)
                  FROM workers w
                 WHERE a.queue = ANY (w.queues) AND w.status = 'alive'
                   AND w.last_heartbeat > now() - make_interval(secs => $3)),
               COALESCE(last.ended, 0) + COALESCE(growth.ended, 0),
               COALESCE(last.busy_seconds, 0) + COALESCE(growth.busy, 0)
          FROM UNNEST($1::text[], $2::bigint[]) AS a(queue, depth)
         CROSS JOIN LATERAL (SELECT array_agg(DISTINCT name) AS names
                               FROM fleet CROSS JOIN UNNEST(fleet.task_names) AS name
                              WHERE a.queue = ANY (fleet.queues)) AS registered
         CROSS JOIN LATERAL (SELECT count(*) AS pending,
                                    count(*) FILTER (WHERE registered.names IS NULL OR task_name = ANY (registered.names))
                                        AS routable
                               FROM (SELECT t.task_name FROM tasks t
                                      WHERE t.queue = a.queue AND t.status = 'pending'
                                      LIMIT $5) AS bounded) AS waits
          LEFT JOIN growth ON growth.queue = a.queue
          LEFT JOIN LATERAL (SELECT s.ended, s.busy_seconds FROM queue_samples s
                              WHERE s.queue = a.queue ORDER BY s.at DESC LIMIT 1) AS last ON true
        ON CONFLICT DO NOTHING
        "#,
        queues as _,
        depths as _,
        timeout_seconds,
        KEPT_SECONDS,
        BACKLOG_MAX,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// Returns the facts about `queues`, in that order. A worker whose last heartbeat is older than
/// `timeout_seconds` does not count as live.
pub async fn facts(
    db: impl PgExecutor<'_>,
    queues: &[QueueName],
    timeout_seconds: f64,
) -> Result<Vec<QueueFacts>> {
    let rows = sqlx::query!(
        r#"
        WITH live AS MATERIALIZED (
            SELECT queues, task_names, pool_size FROM workers
             WHERE status = 'alive' AND last_heartbeat > now() - make_interval(secs => $2)
        ), sets AS MATERIALIZED (
            SELECT DISTINCT queues, task_names FROM live
        ), runs AS MATERIALIZED (
            SELECT queue, count(*) AS count, avg(extract(epoch FROM now() - started_at))::double precision AS seconds
              FROM tasks WHERE status = 'running' GROUP BY queue
        )
        SELECT q.name AS "name!: QueueName",
               waits.pending AS "pending!", waits.routable AS "routable!",
               (SELECT extract(epoch FROM now() - min(t.enqueued_at))::double precision
                  FROM tasks t WHERE t.queue = q.name AND t.status = 'pending') AS oldest_age_seconds,
               COALESCE(runs.count, 0) AS "running!",
               runs.seconds AS running_seconds,
               EXISTS (SELECT FROM queues d WHERE d.name = q.name AND d.paused_at IS NOT NULL) AS "paused!",
               fleet.workers AS "workers!",
               fleet.slots AS "slots!",
               COALESCE(s.ages, '{}') AS "ages!",
               COALESCE(s.backlogs, '{}') AS "backlogs!",
               COALESCE(s.runnings, '{}') AS "runnings!",
               COALESCE(s.befores, '{}') AS "befores!",
               COALESCE(s.slots, '{}') AS "sample_slots!",
               COALESCE(s.ended, '{}') AS "ended!",
               COALESCE(s.busy, '{}') AS "busy!"
          FROM UNNEST($1::text[]) WITH ORDINALITY AS q(name, place)
          LEFT JOIN runs ON runs.queue = q.name
         CROSS JOIN LATERAL (SELECT count(*) AS workers, COALESCE(sum(pool_size), 0) AS slots
                               FROM live WHERE q.name = ANY (live.queues)) AS fleet
         CROSS JOIN LATERAL (SELECT array_agg(DISTINCT name) AS names
                               FROM sets CROSS JOIN UNNEST(sets.task_names) AS name
                              WHERE q.name = ANY (sets.queues)) AS registered
         CROSS JOIN LATERAL (SELECT count(*) AS pending,
                                    count(*) FILTER (WHERE registered.names IS NULL OR task_name = ANY (registered.names))
                                        AS routable
                               FROM (SELECT t.task_name FROM tasks t
                                      WHERE t.queue = q.name AND t.status = 'pending'
                                      LIMIT $3) AS bounded) AS waits
         CROSS JOIN LATERAL (
            SELECT array_agg(extract(epoch FROM now() - at)::double precision ORDER BY at) AS ages,
                   array_agg(backlog ORDER BY at) AS backlogs,
                   array_agg(running ORDER BY at) AS runnings,
                   array_agg(running_before ORDER BY at) AS befores,
                   array_agg(queue_samples.slots ORDER BY at) AS slots,
                   array_agg(ended ORDER BY at) AS ended,
                   array_agg(busy_seconds ORDER BY at) AS busy
              FROM queue_samples WHERE queue = q.name) AS s
         ORDER BY q.place
        "#,
        queues as _,
        timeout_seconds,
        BACKLOG_MAX,
    )
    .fetch_all(db)
    .await?;
    // the arrays of a queue are sorted alike, so an index is one sample
    let facts = rows.into_iter().map(|row| {
        let samples = (0..row.ages.len()).filter_map(|place| {
            Some(Sample {
                age_seconds: *row.ages.get(place)?,
                backlog: *row.backlogs.get(place)?,
                running: *row.runnings.get(place)?,
                running_before: *row.befores.get(place)?,
                slots: *row.sample_slots.get(place)?,
                ended: *row.ended.get(place)?,
                busy_seconds: *row.busy.get(place)?,
            })
        });
        QueueFacts {
            pending: row.pending,
            routable: row.routable,
            oldest_age_seconds: row.oldest_age_seconds,
            running: row.running,
            running_seconds: row.running_seconds,
            paused: row.paused,
            workers: row.workers,
            slots: row.slots,
            samples: samples.collect(),
            name: row.name,
        }
    });
    Ok(facts.collect())
}

/// The current state of some task types of a queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TypesFacts {
    /// Pending tasks of these types, whether or not a live worker registers them, counted no further than
    /// [`BACKLOG_MAX`] and among the oldest [`TYPES_READ_MAX`] of the queue.
    pub pending: i64,
    /// The age of the oldest of them in seconds.
    pub oldest_age_seconds: Option<f64>,
    /// Tasks of these types that run.
    pub running: i64,
    /// Live workers that serve the queue and register any of the types.
    pub workers: i64,
    /// Slots of those workers.
    pub slots: i64,
}

/// Returns the facts about the types `task_names` of a queue. A worker whose last heartbeat is older than
/// `timeout_seconds` does not count as live.
pub async fn facts_of_types(
    db: impl PgExecutor<'_>,
    queue: &QueueName,
    task_names: &[String],
    timeout_seconds: f64,
) -> Result<TypesFacts> {
    sqlx::query_as!(
        TypesFacts,
        r#"
        SELECT waits.count AS "pending!",
               extract(epoch FROM now() - waits.oldest)::double precision AS oldest_age_seconds,
               (SELECT count(*) FROM tasks t
                 WHERE t.queue = $1 AND t.task_name = ANY ($2::text[]) AND t.status = 'running') AS "running!",
               fleet.workers AS "workers!", fleet.slots AS "slots!"
          FROM (SELECT count(*), min(enqueued_at) AS oldest
                  FROM (SELECT enqueued_at
                          FROM (SELECT t.task_name, t.enqueued_at FROM tasks t
                                 WHERE t.queue = $1 AND t.status = 'pending'
                                 ORDER BY t.enqueued_at, t.id
                                 LIMIT $5) AS read
                         WHERE task_name = ANY ($2::text[])
                         LIMIT $4) AS bounded) AS waits
         CROSS JOIN (SELECT count(*) AS workers, COALESCE(sum(w.pool_size), 0) AS slots
                       FROM workers w
                      WHERE $1 = ANY (w.queues) AND w.task_names && $2::text[] AND w.status = 'alive'
                        AND w.last_heartbeat > now() - make_interval(secs => $3)) AS fleet
        "#,
        queue as _,
        task_names,
        timeout_seconds,
        BACKLOG_MAX,
        TYPES_READ_MAX,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}
