//! Runs that ended without a result: failed attempts and released runs.

use std::cmp::Reverse;
use std::time::Duration;

use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::retry::{DeadLetterReason, Decision};
use tasker_core::task::{QueueName, Run, TaskId, TaskStatus};

/// The consequence of a run without a result for its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The attempt failed; retry after this long.
    RetryIn(Duration),
    /// The attempt failed for good.
    DeadLetter(DeadLetterReason),
    /// The run was released: its task goes back to the front of its queue and no attempt is counted.
    Released,
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::RetryIn(delay) => Self::RetryIn(delay),
            Decision::DeadLetter(reason) => Self::DeadLetter(reason),
        }
    }
}

/// A run that ended without a result.
#[derive(Debug, Clone)]
pub struct EndedRun {
    /// The run.
    pub run: Run,
    /// The consequence for the task.
    pub verdict: Verdict,
    /// The reason for the history: `failed`, `timeout`, `panicked`, `released`, ….
    pub reason: &'static str,
    /// The error text, cut to its limit.
    pub error: Option<String>,
}

/// The state of a task after its run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The task.
    pub id: TaskId,
    /// Its type.
    pub task_name: String,
    /// Its queue.
    pub queue: QueueName,
    /// Its state now: `cancelled`, whatever the verdict, if a cancellation was requested meanwhile.
    pub status: TaskStatus,
}

/// Ends runs, around the part that picks and locks running rows and decides the next state. That part gives
/// (id, `task_name`, queue, `from_status`, runs, `worker_id`, `started_at`, `enqueued_at`, attempts,
/// `crash_count`, next, `retry_seconds`, `dead_reason`, attempt, reason, error).
///
/// It locks the rows before it decides: a cancellation that commits first is seen, and one that comes later
/// waits for this statement and finds the new state.
macro_rules! ended_rows {
    ([$($ended:tt),+], $($argument:tt)*) => {
        sqlx::query_as!(
            $crate::end_runs::Ended,
            r#"
            WITH ended AS MATERIALIZED (
            "# $(+ $ended)+
                + r#"
            ), kept AS (
                UPDATE tasks t
                   SET status = e.next, attempts = e.attempts, crash_count = e.crash_count, worker_id = NULL,
                       updated_at = now(), error = COALESCE(e.error, t.error),
                       reason = CASE WHEN e.next = 'dead_letter' THEN e.dead_reason END,
                       started_at = CASE WHEN e.next = 'dead_letter' THEN t.started_at END,
                       run_at = CASE WHEN e.next = 'retry_scheduled'
                                     THEN now() + make_interval(secs => e.retry_seconds) ELSE t.run_at END
                  FROM ended e
                 -- the array finds the rows; the join must not, it could be planned as a scan (see `store`)
                 WHERE t.id = ANY (ARRAY (SELECT id FROM ended WHERE next <> 'cancelled')) AND (t.id = e.id) IS TRUE
            ), gone AS (
                DELETE FROM tasks t USING ended e
                 WHERE t.id = ANY (ARRAY (SELECT id FROM ended WHERE next = 'cancelled')) AND (t.id = e.id) IS TRUE
                RETURNING t.*, e.attempts AS attempts_now, e.crash_count AS crash_count_now
            ), moved AS (
                INSERT INTO finished_tasks
                       (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts,
                        max_attempts, crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id,
                        traceparent, timeout_seconds, progress, error, created_at, enqueued_at, run_at, started_at,
                        updated_at, completed_at)
                SELECT id, task_name, queue, priority, parameters, metadata, tags, 'cancelled', runs, attempts_now,
                       max_attempts, crash_count_now, worker_id, idempotency_key, request_fingerprint, correlation_id,
                       traceparent, timeout_seconds, progress, error, created_at, enqueued_at, run_at, started_at,
                       now(), now()
                  FROM gone
            ), counted AS (
                INSERT INTO task_total_deltas (task_name, queue, event, tasks)
                SELECT task_name, queue, next::text, count(*)
                  FROM ended
                 WHERE next IN ('retry_scheduled', 'dead_letter', 'cancelled')
                 GROUP BY task_name, queue, next
            ), noted AS (
                INSERT INTO task_events (task_id, from_status, to_status, run, attempt, worker_id, reason, error,
                                         enqueued_at, started_at)
                SELECT id, from_status, next, runs, attempt, worker_id, reason, error, enqueued_at, started_at
                  FROM ended
            )
            SELECT id AS "id: TaskId", task_name, queue AS "queue: QueueName", next AS "status!: TaskStatus"
              FROM ended
             ORDER BY enqueued_at, id
            "#,
            $($argument)*
        )
    };
}
pub(super) use ended_rows;

/// Ends these runs of `worker_id`, oldest task first. A run that is not returned was no longer this worker's
/// (a late write), or is that of a step, which [`steps::end_runs`](crate::steps::end_runs) ends.
///
/// Safe to repeat: the second call finds no runs to end.
pub async fn end_runs(db: impl PgExecutor<'_>, worker_id: &str, runs: &[EndedRun]) -> Result<Vec<Ended>> {
    // of two runs of one task the later one counts; rows are locked in the order of their ids
    let mut runs: Vec<&EndedRun> = runs.iter().collect();
    runs.sort_unstable_by_key(|ended| (ended.run.task, Reverse(ended.run.number)));
    runs.dedup_by_key(|ended| ended.run.task);
    let ids: Vec<TaskId> = runs.iter().map(|ended| ended.run.task).collect();
    let numbers: Vec<i32> = runs.iter().map(|ended| ended.run.number).collect();
    // a released run is the one whose next state is `pending`; the statement counts no attempt for it
    let (next, retry_seconds, dead_reasons): (Vec<&str>, Vec<Option<f64>>, Vec<Option<&str>>) =
        runs.iter().map(|ended| columns(ended.verdict)).collect();
    let reasons: Vec<&str> = runs.iter().map(|ended| ended.reason).collect();
    let errors: Vec<Option<&str>> = runs.iter().map(|ended| ended.error.as_deref()).collect();
    ended_rows!(
        [r#"
                SELECT t.id, t.task_name, t.queue, t.status AS from_status, t.runs, t.worker_id, t.started_at,
                       t.enqueued_at,
                       t.attempts + (i.next <> 'pending')::integer AS attempts, t.crash_count,
                       CASE WHEN t.cancel_requested_at IS NULL THEN i.next ELSE 'cancelled' END::task_status AS next,
                       i.retry_seconds, i.dead_reason, i.error,
                       CASE WHEN t.cancel_requested_at IS NULL THEN i.reason ELSE 'cancelled' END AS reason,
                       CASE WHEN i.next <> 'pending' THEN t.attempts + 1 END AS attempt
                  FROM (SELECT *
                          FROM UNNEST($2::uuid[], $3::integer[], $4::text[], $5::double precision[], $6::text[],
                                      $7::text[], $8::text[])
                                   AS i(id, run, next, retry_seconds, dead_reason, reason, error)
                         ORDER BY id
                       ) AS i
                 CROSS JOIN LATERAL (
                           -- that it is running follows from its having a worker (see `complete`)
                           SELECT *
                             FROM tasks t
                            WHERE t.id = i.id AND t.runs = i.run AND t.worker_id = $1 AND t.workflow_id IS NULL
                              FOR NO KEY UPDATE
                       ) AS t
        "#],
        worker_id,
        ids as _,
        &numbers,
        next as _,
        retry_seconds as _,
        dead_reasons as _,
        reasons as _,
        errors as _,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Returns the next state, the seconds until the next attempt, and the reason of a dead letter.
pub(crate) fn columns(verdict: Verdict) -> (&'static str, Option<f64>, Option<&'static str>) {
    match verdict {
        Verdict::RetryIn(delay) => ("retry_scheduled", Some(delay.as_secs_f64()), None),
        Verdict::DeadLetter(reason) => ("dead_letter", None, Some(reason.as_str())),
        Verdict::Released => ("pending", None, None),
    }
}
