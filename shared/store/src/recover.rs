//! Crash recovery: the runs of dead workers are requeued. Decisions depend on states and not on events, so
//! the next run completes the work of one that failed or whose leader died.

use sqlx::PgExecutor;

use super::end_runs::{Ended, ended_rows};
use super::{Error, Result};
use tasker_core::task::limits::SUSPECT_CRASHES;
use tasker_core::task::{QueueName, Run, TaskId, TaskStatus};

/// The number of runs lost with their worker after which a task is dead-lettered, whatever the state of the
/// fleet.
pub(crate) const CRASHES_MAX: i32 = 10;

/// Declares workers dead whose last heartbeat is older than `timeout_seconds`, and returns their ids. A dead
/// worker can only come back under a new id; later writes under the old one change no rows.
pub async fn declare_dead(db: impl PgExecutor<'_>, timeout_seconds: f64) -> Result<Vec<String>> {
    // `ran_suspect` is stored now: recovery takes the running tasks away from the worker, and `fleet_health`
    // reads it later
    sqlx::query_scalar!(
        r#"
        UPDATE workers w
           SET status = 'dead', died_at = now(),
               ran_suspect = EXISTS (SELECT FROM tasks t
                                      WHERE t.worker_id = w.id AND t.status = 'running' AND t.crash_count >= $2)
         WHERE w.status <> 'dead' AND w.last_heartbeat <= now() - make_interval(secs => $1)
        RETURNING w.id
        "#,
        timeout_seconds,
        SUSPECT_CRASHES,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Picks the runs whose worker is dead or unknown, for the statement `$around`. A row that is locked, by a
/// late completion for example, is left for the next run. The first argument is the limit.
macro_rules! lost_runs {
    ($around:ident, $columns:tt, $tables:tt, $which:tt, $limit:expr) => {
        $around!(
            [r#"
                SELECT t.id, t.task_name, t.queue, t.status AS from_status, t.runs, t.worker_id, t.started_at,
                       t.enqueued_at, t.attempts, t.crash_count + 1 AS crash_count,
                       CASE WHEN t.cancel_requested_at IS NOT NULL THEN 'cancelled'
                            WHEN t.crash_count + 1 >= $2 THEN 'dead_letter'
                            -- a suspect was its worker's only one, so the death accuses it, unless the fleet dies anyway
                            WHEN t.crash_count >= $3 AND NOT fleet.unhealthy THEN 'dead_letter'
                            ELSE 'pending' END::task_status AS next,
                       NULL::double precision AS retry_seconds, 'crash_loop' AS dead_reason, NULL::integer AS attempt,
                       'worker_lost' AS reason, 'the worker that ran it died' AS error
            "#, $columns, " FROM ", $tables, r#" CROSS JOIN fleet_health fleet
                 WHERE t.status = 'running'
                   AND NOT EXISTS (SELECT FROM workers w WHERE w.id = t.worker_id AND w.status <> 'dead')
                   AND "#, $which, r#"
                 ORDER BY t.id
                 LIMIT $1
                   FOR NO KEY UPDATE OF t SKIP LOCKED
            "#],
            $limit,
            $crate::recover::CRASHES_MAX,
            tasker_core::task::limits::SUSPECT_CRASHES,
        )
    };
}
pub(crate) use lost_runs;

/// Picks the runs of live workers that exceeded their timeout, for the statement `$around`. The first two
/// arguments are the limit and the seconds of grace. Retries use the default backoff, since only workers know
/// the backoff of a task type.
macro_rules! overdue_runs {
    ($around:ident, $columns:tt, $tables:tt, $which:tt, $limit:expr, $grace:expr) => {
        $around!(
            [r#"
                SELECT t.id, t.task_name, t.queue, t.status AS from_status, t.runs, t.worker_id, t.started_at,
                       t.enqueued_at, t.attempts + 1 AS attempts, t.crash_count,
                       CASE WHEN t.cancel_requested_at IS NOT NULL THEN 'cancelled'
                            WHEN t.attempts + 1 >= t.max_attempts THEN 'dead_letter'
                            ELSE 'retry_scheduled' END::task_status AS next,
                       -- full jitter (see `Backoff`); attempts never come near what power() can bear
                       random() * LEAST($4, $3 * power(2, t.attempts)) AS retry_seconds,
                       'timeout' AS dead_reason, t.attempts + 1 AS attempt,
                       CASE WHEN t.cancel_requested_at IS NULL THEN 'timeout' ELSE 'cancelled' END AS reason,
                       'the attempt ran longer than ' || t.timeout_seconds || ' s and its worker did not end it' AS error
            "#, $columns, " FROM ", $tables, r#"
                 WHERE t.status = 'running' AND t.started_at <= now() - make_interval(secs => t.timeout_seconds + $2)
                   -- what ran on a dead one was lost with it, and is recovered as such
                   AND EXISTS (SELECT FROM workers w WHERE w.id = t.worker_id AND w.status <> 'dead')
                   AND "#, $which, r#"
                 ORDER BY t.id
                 LIMIT $1
                   FOR NO KEY UPDATE OF t SKIP LOCKED
            "#],
            $limit,
            $grace,
            tasker_core::task::retry::Backoff::default().base.as_secs_f64(),
            tasker_core::task::retry::Backoff::default().cap.as_secs_f64(),
        )
    };
}
pub(crate) use overdue_runs;

/// Picks the runs of a worker that it does not know of, for the statement `$around`. The arguments are the
/// worker, and the ids and numbers of the runs that it has in flight.
macro_rules! unknown_runs {
    ($around:ident, $columns:tt, $tables:tt, $which:tt, $worker:expr, $ids:expr, $numbers:expr) => {
        $around!(
            [r#"
                SELECT t.id, t.task_name, t.queue, t.status AS from_status, t.runs, t.worker_id, t.started_at,
                       t.enqueued_at, t.attempts, t.crash_count,
                       CASE WHEN t.cancel_requested_at IS NULL THEN 'pending' ELSE 'cancelled' END::task_status AS next,
                       NULL::double precision AS retry_seconds, NULL::text AS dead_reason, NULL::integer AS attempt,
                       'claim_lost' AS reason, NULL::text AS error
            "#, $columns, " FROM ", $tables, r#" JOIN workers w ON w.id = t.worker_id
                 WHERE t.worker_id = $1 AND t.status = 'running' AND t.started_at < w.last_heartbeat
                   AND NOT EXISTS (SELECT FROM UNNEST($2::uuid[], $3::integer[]) AS h(id, run)
                                    WHERE h.id = t.id AND h.run = t.runs)
                   AND "#, $which, r#"
                 ORDER BY t.id
                   FOR NO KEY UPDATE OF t SKIP LOCKED
            "#],
            $worker,
            $ids as _,
            $numbers,
        )
    };
}
pub(crate) use unknown_runs;

/// Ends up to `limit` runs of plain tasks whose worker is dead or unknown, and returns the new states of
/// their tasks, oldest first: `pending` at the front of their queues, `cancelled` if that was requested, or
/// `dead_letter` (`crash_loop`) for a poison task. The caller pushes the hints of those that are pending.
pub async fn recover(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Ended>> {
    lost_runs!(ended_rows, "", "tasks t", "t.workflow_id IS NULL", limit)
        .fetch_all(db)
        .await
        .map_err(Error::from)
}

/// Returns whether workers die for other reasons than the tasks that they run; such deaths are not attributed
/// to tasks.
pub async fn fleet_is_unhealthy(db: impl PgExecutor<'_>) -> Result<bool> {
    sqlx::query_scalar!(r#"SELECT unhealthy AS "unhealthy!" FROM fleet_health"#)
        .fetch_one(db)
        .await
        .map_err(Error::from)
}

/// Deletes the rows of workers that died longer than `age_seconds` ago and that no running task refers to.
pub async fn forget_dead(db: impl PgExecutor<'_>, age_seconds: f64) -> Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM workers w
          WHERE w.status = 'dead' AND w.died_at <= now() - make_interval(secs => $1)
            AND NOT EXISTS (SELECT FROM tasks t WHERE t.worker_id = w.id AND t.status = 'running')",
        age_seconds,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Reclaims runs of plain tasks of `worker_id` that the worker does not know of, because the reply to its
/// claim was lost. `in_flight` is every run that it has. Such tasks go back to the front without counting an
/// attempt, if they were claimed before the worker's last heartbeat: the reply to a newer claim may still be
/// on its way. The caller pushes the hints of those that are pending.
///
/// Call it before the heartbeat, which moves that limit.
pub async fn reclaim_lost_claims(
    db: impl PgExecutor<'_>,
    worker_id: &str,
    in_flight: &[Run],
) -> Result<Vec<Ended>> {
    let (ids, numbers) = runs_by_id(in_flight);
    unknown_runs!(
        ended_rows,
        "",
        "tasks t",
        "t.workflow_id IS NULL",
        worker_id,
        ids,
        &numbers
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Returns the ids and numbers of runs: a later run of the same task may be in flight on the same worker.
pub(crate) fn runs_by_id(runs: &[Run]) -> (Vec<TaskId>, Vec<i32>) {
    runs.iter().map(|run| (run.task, run.number)).unzip()
}

/// Ends up to `limit` runs of plain tasks on live workers that exceeded their timeout by `grace_seconds`: the
/// worker should have ended them and did not, so the attempt counts as timed out. Returns the new states of
/// the tasks; none is pending.
pub async fn end_overdue(db: impl PgExecutor<'_>, grace_seconds: f64, limit: i64) -> Result<Vec<Ended>> {
    // a run of a dead worker is not overdue: recovery requeues it without counting an attempt
    overdue_runs!(
        ended_rows,
        "",
        "tasks t",
        "t.workflow_id IS NULL",
        limit,
        grace_seconds
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}
