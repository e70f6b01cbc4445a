//! The facts behind the explanation why a task is not running, read in one statement. The API turns them into
//! reasons.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::records::earliest_end;
use super::{Error, Result};
use tasker_core::task::limits::SUSPECT_CRASHES;
use tasker_core::task::{QueueName, TaskId, TaskStatus};

/// The maximum number of tasks ahead of this one that are counted.
pub const AHEAD_MAX: i64 = 10_000;
/// The maximum number of rows read to count them, including those that are not counted.
const AHEAD_READ_MAX: i64 = 20_000;
/// The number of the oldest pending rows of another queue that are searched for one that a worker of this
/// queue can run.
const OLDEST_ROWS: i64 = 1_000;
/// The number of recently finished tasks from which the pace of the queue is measured.
const PACE_ROWS: i64 = 1_000;
/// Only tasks that finished within this time count for the pace.
const PACE_SECONDS: f64 = 300.0;

/// The facts about a task and about the workers that could run it. Workers are live ones; those that serve
/// its queue *and* register its type can run it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time of reading, by Postgres's clock, as all times here.
    pub now: DateTime<Utc>,
    /// Its state.
    pub status: TaskStatus,
    /// Its type.
    pub task_name: String,
    /// Its queue.
    pub queue: QueueName,
    /// Attempts that ended.
    pub attempts: i32,
    /// The maximum number of attempts.
    pub max_attempts: i32,
    /// Runs lost with their worker.
    pub crash_count: i32,
    /// The worker that runs it, or ran it last.
    pub worker_id: Option<String>,
    /// The reason of a dead letter.
    pub dead_reason: Option<String>,
    /// The time when it last became pending.
    pub enqueued_at: Option<DateTime<Utc>>,
    /// The earliest time at which it may run.
    pub run_at: Option<DateTime<Utc>>,
    /// The start of its last run.
    pub started_at: Option<DateTime<Utc>>,
    /// The time when it finished.
    pub completed_at: Option<DateTime<Utc>>,
    /// The time of a request to cancel its current run.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// The time since which its queue is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Workers that serve its queue.
    pub serving: i64,
    /// Those of them that can run it.
    pub able: i64,
    /// Tasks that those run at once.
    pub able_slots: i64,
    /// Tasks that they ran at their last heartbeats.
    pub able_active: i64,
    /// Those of them that run a suspect; counted only if this task is one.
    pub able_with_suspect: i64,
    /// Queues that some of them serve before this one and that hold tasks which these workers can run.
    pub served_before: Vec<QueueName>,
    /// Pending tasks ahead of it in its queue that live workers of the queue can run, or all while the queue
    /// has no workers; at most one more than [`AHEAD_MAX`]. `None` where too many others are among them to
    /// count that far, and for a task that is not pending.
    pub ahead: Option<i64>,
    /// Tasks of its queue that finished recently, among the youngest that are older than it; only for a
    /// pending task.
    pub finished_lately: i64,
    /// The time since which those finished.
    pub finished_since: Option<DateTime<Utc>>,
    /// The time when a run of it was last lost with its worker.
    pub lost_at: Option<DateTime<Utc>>,
    /// That worker.
    pub lost_worker_id: Option<String>,
}

/// Returns the facts about a task; `None` if it does not exist. A worker whose last heartbeat is older than
/// `timeout_seconds` does not count as live. Bounded: reads at most 20,000 pending rows and 1,000 finished
/// ones.
///
/// The pace of a queue is measured from the finished tasks whose ids come right before this one's: a list is
/// popped from its head, so those are the most recently finished.
pub async fn facts(db: impl PgExecutor<'_>, id: TaskId, timeout_seconds: f64) -> Result<Option<Facts>> {
    // one statement, and so one snapshot: facts from several could contradict each other
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
    .map_err(Error::from)
}
