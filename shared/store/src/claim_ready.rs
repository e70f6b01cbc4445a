//! The fast-path claim. Nearly every hint is right: its row is pending, unlocked, of a type that the worker
//! registers, and not a suspect. One `UPDATE` takes those without locking them first; the full claim,
//! [`super::claim`], handles the rest.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::claim::{Claim, Claimant, Claimed};
use super::claimed_step::ClaimedStep;
use super::{Error, Result};
use tasker_core::task::limits::SUSPECT_CRASHES;
use tasker_core::task::{QueueName, Run, TaskId};

/// Maximum wait for a row that another session has locked. It does not bound the wait for the table's own
/// lock, which is taken before the statement can change the setting.
const LOCK_TIMEOUT: &str = "10ms";
/// `lock_not_available` (PostgreSQL, appendix A).
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Claims those of `ids` that are ready: pending in a queue that is not paused, of a type that the worker
/// registers, and not a suspect; provided that the worker's row says that it is alive. The rest is left
/// unchanged for the full claim, [`claim`](super::claim::claim).
///
/// The plan may lock rows in any order, so two claims could wait for each other; the lock timeout of 10 ms
/// ends such a wait, and the claim then takes no tasks. A claim without tasks reports neither the worker's
/// state nor paused queues. Commits asynchronously, as the full claim does.
pub async fn claim_ready(db: impl PgExecutor<'_>, claimant: &Claimant<'_>, ids: &[TaskId]) -> Result<Claim> {
    // locking the rows in a CTE first is what makes the full claim more expensive; a row that another session
    // changes meanwhile is checked again by Postgres
    let rows = sqlx::query_as!(
        Taken,
        r#"
        WITH local AS MATERIALIZED (
            SELECT set_config('synchronous_commit', 'off', true), set_config('lock_timeout', $6, true)
        ), me AS MATERIALIZED (
            SELECT EXISTS (SELECT FROM workers WHERE id = $1 AND status = 'alive') AS alive FROM local
        ), paused AS MATERIALIZED (
            SELECT array_agg(name) AS names
              FROM queues
             WHERE paused_at IS NOT NULL AND name = ANY ($2::text[])
        )
        UPDATE tasks t
           SET status = 'running', runs = t.runs + 1, worker_id = $1, started_at = now(), updated_at = now()
         -- as text: see `claim`
         WHERE t.id = ANY ($4::uuid[]) AND t.status::text = 'pending' AND (SELECT alive FROM me)
           AND t.task_name = ANY ($3::text[]) AND t.crash_count < $5
           AND t.queue <> ALL (COALESCE((SELECT names FROM paused), '{}')::text[])
           -- by key, and for steps only: plain tasks stop at the first half
           AND (t.workflow_id IS NULL OR NOT EXISTS (
                    SELECT FROM workflows w
                     WHERE w.id = t.workflow_id AND (w.paused_at IS NOT NULL OR w.cancel_requested_at IS NOT NULL)))
        RETURNING t.id AS "id: TaskId", t.runs, t.task_name, t.queue AS "queue: QueueName", t.parameters::text AS "parameters!",
                  t.metadata::text AS "metadata!", t.attempts, t.max_attempts, t.timeout_seconds, t.correlation_id, t.traceparent,
                  t.enqueued_at AS "enqueued_at!", t.started_at AS "started_at!",
                  CASE WHEN t.run_at IS NULL THEN t.enqueued_at ELSE GREATEST(t.run_at, t.created_at) END AS "due_at!",
                  CASE WHEN t.workflow_id IS NOT NULL
                       THEN json_build_array(t.workflow_id, t.step, t.item, t.options)::text END AS step,
                  (SELECT names FROM paused) AS "paused: Vec<QueueName>"
        "#,
        claimant.worker_id,
        claimant.queues as _,
        claimant.task_names,
        ids as _,
        SUSPECT_CRASHES,
        LOCK_TIMEOUT,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from);
    match rows {
        Ok(rows) => Ok(read(rows)),
        // giving up rolled the whole statement back, so the full claim may still take every id
        Err(error) if is_held_up(&error) => Ok(Claim::default()),
        Err(error) => Err(error),
    }
}

fn read(mut rows: Vec<Taken>) -> Claim {
    // the facts about the worker are the same in every row
    let paused = rows.first_mut().and_then(|row| row.paused.take());
    Claim {
        worker_is_alive: !rows.is_empty(),
        paused: paused.into_iter().flatten().collect(),
        tasks: rows.into_iter().map(Claimed::from).collect(),
        ..Claim::default()
    }
}

/// Whether the statement gave up on a row lock, and so claimed no tasks.
fn is_held_up(error: &Error) -> bool {
    error.code().as_deref() == Some(LOCK_NOT_AVAILABLE)
}

/// A row that a fast-path claim took.
struct Taken {
    id: TaskId,
    runs: i32,
    task_name: String,
    queue: QueueName,
    parameters: String,
    metadata: String,
    attempts: i32,
    max_attempts: i32,
    timeout_seconds: f64,
    correlation_id: String,
    traceparent: Option<String>,
    enqueued_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    started_at: DateTime<Utc>,
    step: Option<String>,
    paused: Option<Vec<QueueName>>,
}

impl From<Taken> for Claimed {
    fn from(row: Taken) -> Self {
        Self {
            run: Run {
                task: row.id,
                number: row.runs,
            },
            task_name: row.task_name,
            queue: row.queue,
            parameters: row.parameters,
            metadata: row.metadata,
            attempts: row.attempts,
            max_attempts: row.max_attempts,
            suspect: false,
            timeout_seconds: row.timeout_seconds,
            correlation_id: row.correlation_id,
            traceparent: row.traceparent,
            enqueued_at: row.enqueued_at,
            due_at: row.due_at,
            started_at: row.started_at,
            step: row.step.as_deref().and_then(ClaimedStep::parse),
        }
    }
}
