//! The fleet.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Result;
use super::liveness::LivenessKey;
use crate::task::QueueName;

/// What a worker says of itself when it registers.
#[derive(Debug, Clone)]
pub struct NewWorker {
    /// Its id: never used before and never again.
    pub id: String,
    /// The host it runs on.
    pub hostname: String,
    /// Its process id there.
    pub pid: i32,
    /// Its version.
    pub version: String,
    /// The queues it serves, in order.
    pub queues: Vec<QueueName>,
    /// The task types it has registered.
    pub task_names: Vec<String>,
    /// Tasks it runs at once.
    pub pool_size: i32,
    /// The lock that its process will hold; none where it cannot hold one, and its heartbeats alone tell that it lives.
    pub liveness_key: Option<LivenessKey>,
}

/// A worker as the table has it.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table, explained at `NewWorker`")]
pub struct WorkerRecord {
    pub id: String,
    pub hostname: String,
    pub pid: i32,
    pub version: String,
    pub queues: Vec<String>,
    pub pool_size: i32,
    pub active: i32,
    /// `alive`, `draining` or `dead`; an `alive` one whose heartbeat is overdue reads `unresponsive`.
    pub status: String,
    pub started_at: DateTime<Utc>,
    pub last_heartbeat: DateTime<Utc>,
}

/// Enters a worker.
pub async fn register(db: impl PgExecutor<'_>, worker: &NewWorker) -> Result<()> {
    sqlx::query!(
        "INSERT INTO workers (id, hostname, pid, version, queues, task_names, pool_size, liveness_key, pops_by_type)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true)",
        worker.id,
        worker.hostname,
        worker.pid,
        worker.version,
        &worker.queues as _,
        &worker.task_names,
        worker.pool_size,
        worker.liveness_key.map(LivenessKey::number),
    )
    .execute(db)
    .await
    .map(drop)
}

/// What the fleet tells a worker in return for its heartbeat.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// Whether the worker counts as alive. If not, its tasks are others' by now.
    pub alive: bool,
    /// Workers that share at least one queue with it, itself included.
    pub sharing: i64,
    /// Whether this session holds the worker's lock now. Also true where the worker has none.
    pub holds_lock: bool,
}

/// What a worker has done and does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work<'a> {
    /// Tasks that it runs now.
    pub active: i32,
    /// Runs that ended since it started, for each of its queues.
    pub ended: &'a [i64],
    /// How long those took together, in seconds.
    pub busy_seconds: &'a [f64],
}

/// Says that `worker_id` lives and what it does, and makes sure that the session holds the worker's lock.
/// `timeout_seconds` is how long others may be silent.
pub async fn heartbeat(
    db: impl PgExecutor<'_>,
    worker_id: &str,
    work: Work<'_>,
    timeout_seconds: f64,
) -> Result<Heartbeat> {
    let row = sqlx::query!(
        r#"
        WITH me AS (
            UPDATE workers SET last_heartbeat = now(), active = $2, ended = $4, busy_seconds = $5
             WHERE id = $1 AND status <> 'dead'
            RETURNING id, queues, liveness_key
        )
        SELECT EXISTS (SELECT FROM me) AS "alive!",
               -- taken again by the session that holds it, it is held as before
               COALESCE((SELECT pg_try_advisory_lock(liveness_key) FROM me), true) AS "holds_lock!",
               (SELECT count(*) FROM workers w, me
                 WHERE w.queues && me.queues AND w.status = 'alive'
                   AND (w.id = me.id OR w.last_heartbeat > now() - make_interval(secs => $3))) AS "sharing!"
        "#,
        worker_id,
        work.active,
        timeout_seconds,
        work.ended,
        work.busy_seconds,
    )
    .fetch_one(db)
    .await?;
    Ok(Heartbeat {
        alive: row.alive,
        sharing: row.sharing,
        holds_lock: row.holds_lock,
    })
}

/// Says that a worker claims no more and ends when its runs have ended.
pub async fn drain(db: impl PgExecutor<'_>, worker_id: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE workers SET status = 'draining' WHERE id = $1 AND status = 'alive'",
        worker_id
    )
    .execute(db)
    .await
    .map(drop)
}

/// Takes a worker off the list, unless a running task still names it: then recovery needs its row.
pub async fn leave(db: impl PgExecutor<'_>, worker_id: &str) -> Result<()> {
    sqlx::query!(
        "DELETE FROM workers w
          WHERE id = $1 AND NOT EXISTS (SELECT FROM tasks t WHERE t.worker_id = w.id AND t.status = 'running')",
        worker_id,
    )
    .execute(db)
    .await
    .map(drop)
}

/// All workers, the newest first. One that is silent for longer than `timeout_seconds` is shown as such.
pub async fn list(db: impl PgExecutor<'_>, timeout_seconds: f64) -> Result<Vec<WorkerRecord>> {
    sqlx::query_as!(
        WorkerRecord,
        r#"
        SELECT id, hostname, pid, version, queues, pool_size, active, started_at, last_heartbeat,
               CASE WHEN status = 'alive' AND last_heartbeat <= now() - make_interval(secs => $1) THEN 'unresponsive'
                    ELSE status::text END AS "status!"
          FROM workers
         ORDER BY started_at DESC, id
         LIMIT 10000
        "#,
        timeout_seconds,
    )
    .fetch_all(db)
    .await
}
