//! The registered workers.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::liveness::LivenessKey;
use super::{Error, Result};
use tasker_core::task::QueueName;

/// The version of the statements of this binary: 2 knows steps of workflows.
const PROTOCOL: i16 = 2;

/// The registration of a worker.
#[derive(Debug, Clone)]
pub struct NewWorker {
    /// Its id, never reused.
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
    /// The advisory lock that its process will hold; `None` where it cannot hold one, so that only its
    /// heartbeats show that it is alive.
    pub liveness_key: Option<LivenessKey>,
}

/// A worker's row.
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

/// Registers a worker.
pub async fn register(db: impl PgExecutor<'_>, worker: &NewWorker) -> Result<()> {
    sqlx::query!(
        "INSERT INTO workers (id, hostname, pid, version, queues, task_names, pool_size, liveness_key, pops_by_type, protocol)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true, $9)",
        worker.id,
        worker.hostname,
        worker.pid,
        worker.version,
        &worker.queues as _,
        &worker.task_names,
        worker.pool_size,
        worker.liveness_key.map(LivenessKey::number),
        PROTOCOL,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// Whether the worker counts as alive. If not, its tasks have been requeued or will be.
    pub alive: bool,
    /// Workers that serve at least one of its queues, itself included.
    pub sharing: i64,
    /// Whether this session holds the worker's lock now. True where the worker has none.
    pub holds_lock: bool,
}

/// The work of a worker, reported with its heartbeat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work<'a> {
    /// Tasks that it runs now.
    pub active: i32,
    /// Runs that ended since it started, for each of its queues.
    pub ended: &'a [i64],
    /// The total duration of those runs, in seconds.
    pub busy_seconds: &'a [f64],
}

/// Records a heartbeat of `worker_id` with its work, and takes the worker's lock for this session if it is
/// not held. Other workers whose last heartbeat is older than `timeout_seconds` do not count.
pub async fn heartbeat(
    db: impl PgExecutor<'_>,
    worker_id: &str,
    work: Work<'_>,
    timeout_seconds: f64,
) -> Result<Heartbeat> {
    // a dead worker's row does not match, so a late heartbeat cannot bring it back to life
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

/// Marks a worker as draining: it stops claiming and exits when its runs have ended.
pub async fn drain(db: impl PgExecutor<'_>, worker_id: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE workers SET status = 'draining' WHERE id = $1 AND status = 'alive'",
        worker_id
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// Deletes a worker's row, unless a running task still refers to it: recovery needs the row then.
pub async fn leave(db: impl PgExecutor<'_>, worker_id: &str) -> Result<()> {
    sqlx::query!(
        "DELETE FROM workers w
          WHERE id = $1 AND NOT EXISTS (SELECT FROM tasks t WHERE t.worker_id = w.id AND t.status = 'running')",
        worker_id,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// Returns all workers, the newest first. An `alive` one whose last heartbeat is older than `timeout_seconds`
/// is shown as `unresponsive`.
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
    .map_err(Error::from)
}
