//! Why a task is not running: the facts, read in one statement. What they mean is decided elsewhere.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Result;
use super::records::earliest_end;
use crate::task::limits::SUSPECT_CRASHES;
use crate::task::{QueueName, TaskId, TaskStatus};

/// Most tasks before this one that are counted.
pub const AHEAD_MAX: i64 = 10_000;
/// The maximum number of rows that are read to count them, those that are left out of the count included.
const AHEAD_READ_MAX: i64 = 20_000;
/// The number of the oldest pending rows of another queue that are checked for one that a worker of this queue can run.
const OLDEST_ROWS: i64 = 1_000;
/// How many of the tasks that finished last are looked at for the pace of the queue.
const PACE_ROWS: i64 = 1_000;
/// Only what finished within this time tells of its pace now.
const PACE_SECONDS: f64 = 300.0;

/// What bears on why a task is not running. Workers are live ones; those that serve its queue *and* know its type can run it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// When this was read, by Postgres's clock, as every other time here.
    pub now: DateTime<Utc>,
    /// Its state.
    pub status: TaskStatus,
    /// Its type.
    pub task_name: String,
    /// Its queue.
    pub queue: QueueName,
    /// Attempts that ended.
    pub attempts: i32,
    /// Attempts in all.
    pub max_attempts: i32,
    /// Runs lost with their worker.
    pub crash_count: i32,
    /// Who runs it, or ran it last.
    pub worker_id: Option<String>,
    /// Why a dead letter is one.
    pub dead_reason: Option<String>,
    /// When it was last put on its list.
    pub enqueued_at: Option<DateTime<Utc>>,
    /// Not before.
    pub run_at: Option<DateTime<Utc>>,
    /// When its last run began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// When somebody asked a running one to stop.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// Since when its queue is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Workers that serve its queue.
    pub serving: i64,
    /// Those of them that can run it.
    pub able: i64,
    /// Tasks that those run at once.
    pub able_slots: i64,
    /// Tasks that they ran at their last heartbeats.
    pub able_active: i64,
    /// Those of them that run a task which has lost workers before; counted only for such a task.
    pub able_with_suspect: i64,
    /// Queues that some of them serve before this one, and in which tasks wait that these can run.
    pub served_before: Vec<QueueName>,
    /// Pending tasks of its queue before it that live workers of the queue can run, or all while it has none; one more than
    /// [`AHEAD_MAX`] at most. `None` where too many others are among them to count that far, and for a task that is not pending.
    pub ahead: Option<i64>,
    /// Tasks of its queue that finished lately, among the youngest that are older than it; only for a pending one.
    pub finished_lately: i64,
    /// Since when those finished.
    pub finished_since: Option<DateTime<Utc>>,
    /// When a run of it was last lost with its worker.
    pub lost_at: Option<DateTime<Utc>>,
    /// That worker.
    pub lost_worker_id: Option<String>,
}

/// The facts about a task; nothing if there is no such task. A worker silent for longer than `timeout_seconds` does not count
/// as live. Bounded: it reads 20,000 pending rows and a thousand finished ones at most.
///
/// The pace of a queue is read from the finished tasks whose ids come right before this one's: in a list that is worked off
/// from its head, those are the ones that finished last.
pub async fn facts(db: impl PgExecutor<'_>, id: TaskId, timeout_seconds: f64) -> Result<Option<Facts>> {
    sqlx::query_as!(
        Facts,
        r#"
        WITH asked AS MATERIALIZED (
            SELECT r.*, t.cancel_requested_at
              FROM task_records r
              LEFT JOIN tasks t ON t.id = r.id
             WHERE r.id = $1 AND r.ends >= $2
        ), serving AS MATERIALIZED (
            SELECT w.id, w.queues, w.pool_size, w.active, w.task_names, a.task_name = ANY (w.task_names) AS able
              FROM asked a
              JOIN workers w ON a.queue = ANY (w.queues)
             WHERE w.status = 'alive' AND w.last_heartbeat > now() - make_interval(secs => $3)
        ), registered AS MATERIALIZED (
            SELECT DISTINCT UNNEST(task_names) AS name FROM serving
        ), fleet AS (
            SELECT count(*) AS serving, count(*) FILTER (WHERE able) AS able,
                   COALESCE(sum(pool_size) FILTER (WHERE able), 0) AS slots,
                   COALESCE(sum(active) FILTER (WHERE able), 0) AS active
              FROM serving
        ), pace AS (
            SELECT count(*) AS finished, min(completed_at) AS since
              FROM (SELECT f.queue, f.status, f.completed_at
                      FROM finished_tasks f
                     WHERE f.id < $1 AND (SELECT status FROM asked) = 'pending'
                       -- the partitions of today and yesterday, as a whole: a row that this left out would be read in vain
                       AND f.completed_at >= date_trunc('day', now(), 'UTC') - interval '1 day'
                     ORDER BY f.id DESC
                     LIMIT $6) AS youngest
             WHERE queue = (SELECT queue FROM asked) AND status = 'completed'
               AND completed_at > now() - make_interval(secs => $7)
        )
        SELECT now() AS "now!", a.status AS "status!: TaskStatus", a.task_name AS "task_name!",
               a.queue AS "queue!: QueueName", a.attempts AS "attempts!", a.max_attempts AS "max_attempts!",
               a.crash_count AS "crash_count!", a.worker_id, a.reason AS dead_reason, a.enqueued_at, a.run_at,
               a.started_at, a.completed_at, a.cancel_requested_at,
               (SELECT paused_at FROM queues q WHERE q.name = a.queue) AS paused_at,
               fleet.serving AS "serving!", fleet.able AS "able!", fleet.slots AS "able_slots!",
               fleet.active AS "able_active!",
               CASE WHEN a.crash_count >= $4
                    THEN (SELECT count(*) FROM serving s
                           WHERE s.able AND EXISTS (SELECT FROM tasks t WHERE t.worker_id = s.id
                                                       AND t.status = 'running' AND t.crash_count >= $4))
                    ELSE 0 END AS "able_with_suspect!",
               ARRAY(SELECT DISTINCT earlier.name
                       FROM serving s
                      CROSS JOIN UNNEST(s.queues[1:array_position(s.queues, a.queue) - 1]) AS earlier(name)
                      WHERE s.able
                        AND EXISTS (SELECT FROM (SELECT t.task_name FROM tasks t
                                                  WHERE t.queue = earlier.name AND t.status = 'pending'
                                                  ORDER BY t.enqueued_at, t.id
                                                  LIMIT $9) AS oldest
                                     WHERE oldest.task_name = ANY (s.task_names))
                        AND NOT EXISTS (SELECT FROM queues q WHERE q.name = earlier.name AND q.paused_at IS NOT NULL)
                      ORDER BY earlier.name) AS "served_before!: Vec<QueueName>",
               CASE WHEN a.status = 'pending'
                    THEN (SELECT CASE WHEN count(*) FILTER (WHERE routable) > $5 THEN $5::bigint + 1
                                      WHEN count(*) < $8 THEN count(*) FILTER (WHERE routable) END
                            FROM (SELECT fleet.serving = 0 OR t.task_name IN (SELECT name FROM registered) AS routable
                                    FROM tasks t
                                   WHERE t.queue = a.queue AND t.status = 'pending'
                                     AND (t.enqueued_at, t.id) < (a.enqueued_at, a.id)
                                   LIMIT $8) AS bounded) END AS ahead,
               pace.finished AS "finished_lately!", pace.since AS finished_since,
               lost.at AS "lost_at?", lost.worker_id AS lost_worker_id
          FROM asked a
         CROSS JOIN fleet
         CROSS JOIN pace
          LEFT JOIN LATERAL (
                   SELECT e.at, e.worker_id
                     FROM task_events e
                    WHERE a.crash_count > 0 AND e.task_id = $1 AND e.at >= $2 AND e.reason = 'worker_lost'
                    ORDER BY e.at DESC
                    LIMIT 1
               ) AS lost ON true
        "#,
        id as _,
        earliest_end(id),
        timeout_seconds,
        SUSPECT_CRASHES,
        AHEAD_MAX,
        PACE_ROWS,
        PACE_SECONDS,
        AHEAD_READ_MAX,
        OLDEST_ROWS,
    )
    .fetch_optional(db)
    .await
}
