//! Claim: turns hints into runs, by primary key, so that its cost does not grow with the backlog.
//!
//! [`claim`] looks at each row that it is given, and says what becomes of it. Where most rows are ready,
//! [`claim_ready`](super::claim_ready::claim_ready) takes those first, at a sixth less of Postgres's time.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Result;
use crate::task::limits::SUSPECT_CRASHES;
use crate::task::{QueueName, Run, TaskId};

/// Who claims, and what it can run.
#[derive(Debug, Clone)]
pub struct Claimant<'a> {
    /// The worker's id.
    pub worker_id: &'a str,
    /// The queues it serves.
    pub queues: &'a [QueueName],
    /// The task types it has registered.
    pub task_names: &'a [String],
    /// Whether it runs a suspect now: a suspect must not bring innocents down, nor hide behind them, so a worker runs one at a time.
    pub holds_suspect: bool,
}

/// A task that is now this worker's to run.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The run that fences every write about it.
    pub run: Run,
    /// Its type.
    pub task_name: String,
    /// The queue it came from.
    pub queue: QueueName,
    /// JSON text of an object.
    pub parameters: String,
    /// JSON text of an object.
    pub metadata: String,
    /// Attempts that ended before this one.
    pub attempts: i32,
    /// Attempts in all.
    pub max_attempts: i32,
    /// Whether it has lost so many workers that it is watched.
    pub suspect: bool,
    /// Limit of this attempt.
    pub timeout_seconds: f64,
    /// Text that ties its log lines together.
    pub correlation_id: String,
    /// The submitter's W3C trace context.
    pub traceparent: Option<String>,
    /// When it was last put on its list.
    pub enqueued_at: DateTime<Utc>,
    /// When this run began, by Postgres's clock.
    pub started_at: DateTime<Utc>,
}

/// The answer to a claim. There always is one, but a plain claim that took nothing tells nothing.
#[derive(Debug, Default)]
pub struct Claim {
    /// Whether the worker's row says that it lives. If not, nothing was claimed.
    pub worker_is_alive: bool,
    /// Which of the worker's queues are paused. Nothing was claimed from them.
    pub paused: HashSet<QueueName>,
    /// What was claimed.
    pub tasks: Vec<Claimed>,
}

/// One row of the answer: the facts about the worker, and a task if one was claimed.
struct Row {
    alive: bool,
    paused: Option<Vec<QueueName>>,
    id: Option<TaskId>,
    runs: Option<i32>,
    task_name: Option<String>,
    queue: Option<QueueName>,
    parameters: Option<String>,
    metadata: Option<String>,
    attempts: Option<i32>,
    max_attempts: Option<i32>,
    suspect: Option<bool>,
    timeout_seconds: Option<f64>,
    correlation_id: Option<String>,
    traceparent: Option<String>,
    enqueued_at: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
}

/// The claim, around the part that picks and locks pending rows. That part sees `me` and `paused` and gives
/// (id, row, known, suspect). Rows are found again by where they lie: their lock keeps them there, and a row that
/// somebody changed just before the lock is left alone like one that is locked.
macro_rules! claim_rows {
    ($locked:tt, $claimant:expr, $source:expr) => {
        sqlx::query_as!(
            Row,
            r#"
            WITH lazy AS MATERIALIZED (
                SELECT set_config('synchronous_commit', 'off', true)
            ), me AS MATERIALIZED (
                SELECT EXISTS (SELECT FROM workers WHERE id = $1 AND status = 'alive') AS alive FROM lazy
            ), paused AS MATERIALIZED (
                SELECT array_agg(name) AS names
                  FROM queues
                 WHERE paused_at IS NOT NULL AND name = ANY ($2::text[])
            ), locked AS MATERIALIZED (
            "# + $locked
                + r#"
            ), judged AS NOT MATERIALIZED (
                SELECT row, known AND (NOT suspect
                                       OR (NOT $6 AND id = (SELECT id FROM locked WHERE known AND suspect LIMIT 1)))
                            AS taken
                  FROM locked
            ), claimed AS (
                UPDATE tasks t
                   SET status = 'running', runs = t.runs + 1, worker_id = $1, started_at = now(), updated_at = now()
                 -- an array, here and below: a join could be planned as a scan (see `store`)
                 WHERE t.ctid = ANY (ARRAY (SELECT row FROM judged WHERE taken))
                RETURNING t.id, t.runs, t.task_name, t.queue, t.parameters, t.metadata, t.attempts, t.max_attempts, t.crash_count,
                          t.timeout_seconds, t.correlation_id, t.traceparent, t.enqueued_at, t.started_at
            ), put_off AS (
                UPDATE tasks t
                   SET status = 'scheduled', run_at = now() + make_interval(secs => 1 + 4 * random()),
                       updated_at = now()
                 WHERE t.ctid = ANY (ARRAY (SELECT row FROM judged WHERE NOT taken))
            )
            SELECT me.alive AS "alive!", paused.names AS "paused?: Vec<QueueName>",
                   c.id AS "id?: TaskId", c.runs AS "runs?", c.task_name AS "task_name?",
                   c.queue AS "queue?: QueueName", c.parameters::text AS parameters, c.metadata::text AS metadata,
                   c.attempts AS "attempts?", c.max_attempts AS "max_attempts?", c.crash_count >= $5 AS suspect,
                   c.timeout_seconds AS "timeout_seconds?", c.correlation_id AS "correlation_id?", c.traceparent,
                   c.enqueued_at, c.started_at
              FROM me CROSS JOIN paused LEFT JOIN claimed c ON true
            "#,
            $claimant.worker_id,
            $claimant.queues as _,
            $claimant.task_names,
            $source,
            SUSPECT_CRASHES,
            $claimant.holds_suspect,
        )
    };
}

/// Claims those of `ids` that are pending and that this worker can run now. Of the rest, pending rows of a type it does not
/// know, and suspects beside the one it may run, are put off for 1 to 5 s, counting nothing: straight back on the list they
/// would spin. A row that somebody else has locked loses its hint; the net finds it.
///
/// Commits asynchronously: a claim that is lost with a crash of Postgres only runs its tasks again.
pub async fn claim(db: impl PgExecutor<'_>, claimant: &Claimant<'_>, ids: &[TaskId]) -> Result<Claim> {
    let rows = claim_rows!(
        r#"
                SELECT id, ctid AS row, task_name = ANY ($3::text[]) AS known, crash_count >= $5 AS suspect
                  FROM tasks
                 -- as text, so that the index of pending rows, which holds the whole backlog, does not tempt the planner
                 WHERE id = ANY ($4::uuid[]) AND status::text = 'pending'
                   AND (SELECT alive FROM me) AND queue <> ALL (COALESCE((SELECT names FROM paused), '{}')::text[])
                 ORDER BY id
                   FOR NO KEY UPDATE SKIP LOCKED
        "#,
        claimant,
        ids as _
    )
    .fetch_all(db)
    .await?;
    Ok(read(rows))
}

/// The net: claims up to `limit` pending rows without any hint, in the order of the worker's queues, in each the oldest first.
/// Otherwise like [`claim`].
pub async fn claim_oldest(db: impl PgExecutor<'_>, claimant: &Claimant<'_>, limit: i64) -> Result<Claim> {
    let rows = claim_rows!(
        r#"
                SELECT oldest.id, oldest.row, oldest.known, oldest.suspect
                  FROM UNNEST($2::text[]) AS q(name)
                 CROSS JOIN LATERAL (
                           -- the outer limit stops the scan, so that rows of later queues are not even locked
                           SELECT id, ctid AS row, task_name = ANY ($3::text[]) AS known, crash_count >= $5 AS suspect
                             FROM tasks
                            WHERE queue = q.name AND status = 'pending'
                            ORDER BY enqueued_at, id
                            LIMIT $4
                              FOR NO KEY UPDATE SKIP LOCKED
                       ) AS oldest
                 WHERE (SELECT alive FROM me) AND q.name <> ALL (COALESCE((SELECT names FROM paused), '{}')::text[])
                 LIMIT $4
        "#,
        claimant,
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(read(rows))
}

fn read(rows: Vec<Row>) -> Claim {
    let mut claim = Claim::default();
    for row in rows {
        claim.worker_is_alive = row.alive;
        claim.paused.extend(row.paused.into_iter().flatten());
        // one row comes back even when nothing was claimed; its task is empty
        let Some(id) = row.id else { continue };
        claim.tasks.push(Claimed {
            run: Run {
                task: id,
                number: row.runs.unwrap_or_default(),
            },
            task_name: row.task_name.unwrap_or_default(),
            queue: row.queue.unwrap_or_else(QueueName::default_class),
            parameters: row.parameters.unwrap_or_default(),
            metadata: row.metadata.unwrap_or_default(),
            attempts: row.attempts.unwrap_or_default(),
            max_attempts: row.max_attempts.unwrap_or_default(),
            suspect: row.suspect.unwrap_or_default(),
            timeout_seconds: row.timeout_seconds.unwrap_or_default(),
            correlation_id: row.correlation_id.unwrap_or_default(),
            traceparent: row.traceparent,
            enqueued_at: row.enqueued_at.unwrap_or_default(),
            started_at: row.started_at.unwrap_or_default(),
        });
    }
    claim
}
