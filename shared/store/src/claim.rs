//! Claim: turns hints into runs. Rows are found by primary key, so the cost does not grow with the backlog.
//!
//! [`claim`] is the full claim: it checks each row that it is given and reports the outcome. Where most rows
//! are ready, the fast-path claim, [`claim_ready`](super::claim_ready::claim_ready), takes those first and
//! costs Postgres a sixth less.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Result;
use super::claimed_step::ClaimedStep;
use tasker_core::task::limits::SUSPECT_CRASHES;
use tasker_core::task::{QueueName, Run, TaskId};

/// The number of rows per queue that one poll reads. Rows that the worker cannot run are skipped.
const WINDOW: i64 = 1_000;

/// The claiming worker and its capabilities.
#[derive(Debug, Clone)]
pub struct Claimant<'a> {
    /// The worker's id.
    pub worker_id: &'a str,
    /// The queues it serves.
    pub queues: &'a [QueueName],
    /// The task types it has registered.
    pub task_names: &'a [String],
    /// True while it runs a suspect: a worker runs one at a time, so that a crash can be attributed to it.
    pub runs_suspect: bool,
}

/// A task that this worker has claimed and has to run.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The run, which fences every write about it.
    pub run: Run,
    /// Its type.
    pub task_name: String,
    /// The queue it came from.
    pub queue: QueueName,
    /// JSON text of an object.
    pub parameters: String,
    /// JSON text of an object.
    pub metadata: String,
    /// Attempts that ended before this run.
    pub attempts: i32,
    /// The maximum number of attempts.
    pub max_attempts: i32,
    /// Whether it is a suspect, which has crashed several workers and runs without another suspect beside it.
    pub suspect: bool,
    /// Limit of this attempt.
    pub timeout_seconds: f64,
    /// Correlation id of its log lines.
    pub correlation_id: String,
    /// The submitter's W3C trace context.
    pub traceparent: Option<String>,
    /// The time when it last became pending.
    pub enqueued_at: DateTime<Utc>,
    /// The time from which it could have run: its creation, or the time at which it was due.
    pub due_at: DateTime<Utc>,
    /// The start of this run, by Postgres's clock.
    pub started_at: DateTime<Utc>,
    /// If it is a step of a workflow: which one.
    pub step: Option<ClaimedStep>,
}

/// A pending task whose type the claiming worker does not register. Its row is left unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misrouted {
    /// The task.
    pub id: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Its type.
    pub task_name: String,
    /// Whether a live worker serves its queue and registers its type.
    pub routable: bool,
}

/// A place in the order of a queue: when a task was enqueued, and its id.
pub type Place = (DateTime<Utc>, TaskId);

/// A poll of the table for pending rows.
#[derive(Debug, Clone, Copy)]
pub struct Poll<'a> {
    /// The maximum number of tasks to claim.
    pub limit: i64,
    /// Minimum time, in seconds, that a row must have been pending: the hint of a younger one may still be on
    /// its way.
    pub min_age_seconds: f64,
    /// For each of the claimant's queues the place after which to read; `None` is the beginning.
    pub after: &'a [Option<Place>],
}

/// The answer to a claim. A fast-path claim that took no tasks leaves the other fields empty as well.
#[derive(Debug, Default)]
pub struct Claim {
    /// Whether the worker's row says that it is alive. If not, no tasks were claimed.
    pub worker_is_alive: bool,
    /// The worker's queues that are paused. No tasks were claimed from them.
    pub paused: HashSet<QueueName>,
    /// The claimed tasks.
    pub tasks: Vec<Claimed>,
    /// Pending rows of types that the worker does not register.
    pub misrouted: Vec<Misrouted>,
    /// Queues in which a poll read as many rows as it may, some of them of types that the worker does not
    /// register, and the places where it stopped.
    pub stopped_at: Vec<(QueueName, Place)>,
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
    due_at: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    step: Option<String>,
    routable: Option<bool>,
    stopped_queues: Option<Vec<QueueName>>,
    stopped_times: Option<Vec<DateTime<Utc>>>,
    stopped_ids: Option<Vec<TaskId>>,
}

/// The claim, around the part that picks and locks pending rows. That part sees `me` and `paused` and defines
/// `stopped`, giving (queue, `enqueued_at`, id), and `locked`, giving (id, row, `task_name`, queue, known,
/// suspect).
///
/// Rows are updated by `ctid`: the lock keeps a row version in place, so no second lookup by id is needed. A
/// row that was changed just before the lock no longer matches its `ctid` and is left alone, like one that
/// another session has locked.
///
/// Commits asynchronously (CTE `lazy`): losing a claim in a crash of Postgres only leaves its task pending.
macro_rules! claim_rows {
    // `me` reads from `lazy`, since Postgres does not execute a CTE that is not referenced. Rows that the
    // worker cannot run are neither claimed nor deferred, only reported.
    ($locked:tt, $claimant:expr, $($source:expr),+) => {
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
            ), "# + $locked
                + r#", judged AS NOT MATERIALIZED (
                SELECT row, NOT suspect OR (NOT $5 AND id = (SELECT id FROM locked WHERE known AND suspect LIMIT 1)) AS taken
                  FROM locked
                 WHERE known
            ), claimed AS (
                UPDATE tasks t
                   SET status = 'running', runs = t.runs + 1, worker_id = $1, started_at = now(), updated_at = now()
                 -- an array, here and below: a join could be planned as a scan (see `store`)
                 WHERE t.ctid = ANY (ARRAY (SELECT row FROM judged WHERE taken))
                RETURNING t.id, t.runs, t.task_name, t.queue, t.parameters, t.metadata, t.attempts, t.max_attempts, t.crash_count,
                          t.timeout_seconds, t.correlation_id, t.traceparent, t.enqueued_at, t.started_at,
                          CASE WHEN t.run_at IS NULL THEN t.enqueued_at ELSE GREATEST(t.run_at, t.created_at) END AS due_at,
                          CASE WHEN t.workflow_id IS NOT NULL
                               THEN json_build_array(t.workflow_id, t.step, t.item, t.options)::text END AS step
            ), deferred AS (
                UPDATE tasks t
                   SET status = 'scheduled', run_at = now() + make_interval(secs => 1 + 4 * random()),
                       updated_at = now()
                 WHERE t.ctid = ANY (ARRAY (SELECT row FROM judged WHERE NOT taken))
            ), answer AS (
                SELECT id, runs, task_name, queue, parameters::text AS parameters, metadata::text AS metadata, attempts,
                       max_attempts, crash_count >= $4 AS suspect, timeout_seconds, correlation_id, traceparent, enqueued_at,
                       due_at, started_at, step, NULL::boolean AS routable
                  FROM claimed
                 UNION ALL
                SELECT l.id, NULL, l.task_name, l.queue, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                       EXISTS (SELECT FROM workers w
                                WHERE w.status = 'alive' AND l.queue = ANY (w.queues) AND l.task_name = ANY (w.task_names))
                  FROM locked l
                 WHERE NOT l.known
            )
            SELECT me.alive AS "alive!", paused.names AS "paused?: Vec<QueueName>",
                   a.id AS "id?: TaskId", a.runs AS "runs?", a.task_name AS "task_name?", a.queue AS "queue?: QueueName",
                   a.parameters, a.metadata, a.attempts AS "attempts?", a.max_attempts AS "max_attempts?", a.suspect,
                   a.timeout_seconds AS "timeout_seconds?", a.correlation_id AS "correlation_id?", a.traceparent,
                   a.enqueued_at, a.due_at, a.started_at, a.step, a.routable,
                   (SELECT array_agg(s.queue) FROM stopped s) AS "stopped_queues: Vec<QueueName>",
                   (SELECT array_agg(s.enqueued_at) FROM stopped s) AS "stopped_times: Vec<DateTime<Utc>>",
                   (SELECT array_agg(s.id) FROM stopped s) AS "stopped_ids: Vec<TaskId>"
              FROM me CROSS JOIN paused LEFT JOIN answer a ON true
            "#,
            $claimant.worker_id,
            $claimant.queues as _,
            $claimant.task_names,
            SUSPECT_CRASHES,
            $claimant.runs_suspect,
            $($source),+
        )
    };
}

/// Claims those of `ids` that are pending and that this worker can run now. Pending rows of a type that it
/// does not register are reported and left unchanged. Suspects beyond the one that it may run are deferred
/// for 1 to 5 s without counting an attempt: pushed straight back they would be popped and deferred in a busy
/// loop. A row that another session has locked loses its hint; the polling fallback finds it.
///
/// Commits asynchronously: a claim that is lost in a crash of Postgres only means that its tasks run again.
pub async fn claim(db: impl PgExecutor<'_>, claimant: &Claimant<'_>, ids: &[TaskId]) -> Result<Claim> {
    let rows = claim_rows!(
        r#"
            stopped AS (
                SELECT NULL::text AS queue, NULL::timestamptz AS enqueued_at, NULL::uuid AS id WHERE false
            ), locked AS MATERIALIZED (
                SELECT id, ctid AS row, task_name, queue, task_name = ANY ($3::text[]) AS known, crash_count >= $4 AS suspect
                  FROM tasks
                 -- as text, so that the index of pending rows, which holds the whole backlog, does not tempt the planner
                 WHERE id = ANY ($6::uuid[]) AND status::text = 'pending'
                   AND (SELECT alive FROM me) AND queue <> ALL (COALESCE((SELECT names FROM paused), '{}')::text[])
                   -- by key, and for steps only (see `claim_ready`)
                   AND (workflow_id IS NULL OR NOT EXISTS (
                            SELECT FROM workflows w
                             WHERE w.id = tasks.workflow_id
                               AND (w.paused_at IS NOT NULL OR w.cancel_requested_at IS NOT NULL)))
                 ORDER BY id
                   FOR NO KEY UPDATE SKIP LOCKED
            )
        "#,
        claimant,
        ids as _
    )
    .fetch_all(db)
    .await?;
    Ok(read(rows))
}

/// Claims pending rows of the worker's types without hints (the polling fallback): in the order of its
/// queues, the oldest first within each. Reads at most 1,000 rows of each queue. Otherwise the same as
/// [`claim`].
pub async fn claim_oldest(db: impl PgExecutor<'_>, claimant: &Claimant<'_>, poll: Poll<'_>) -> Result<Claim> {
    // two steps: the window of each queue is read without locks, then as many rows are locked as are claimed
    let place = |place: &Option<Place>| place.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, TaskId::MIN));
    // `None` becomes the smallest possible place, so that one comparison serves both cases
    let (times, ids): (Vec<DateTime<Utc>>, Vec<TaskId>) = poll.after.iter().map(place).unzip();
    let rows = claim_rows!(
        r#"
            seen AS MATERIALIZED (
                SELECT q.place, q.name AS queue, oldest.*
                  FROM UNNEST($2::text[], $8::timestamptz[], $9::uuid[]) WITH ORDINALITY AS q(name, after_time, after_id, place)
                 CROSS JOIN LATERAL (
                           SELECT id, ctid AS row, enqueued_at, task_name = ANY ($3::text[]) AS known
                             FROM tasks
                            WHERE queue = q.name AND status = 'pending' AND (enqueued_at, id) > (q.after_time, q.after_id)
                              AND enqueued_at <= now() - make_interval(secs => $7)
                            ORDER BY enqueued_at, id
                            LIMIT $10
                       ) AS oldest
                 WHERE (SELECT alive FROM me) AND q.name <> ALL (COALESCE((SELECT names FROM paused), '{}')::text[])
            ), stopped AS (
                SELECT DISTINCT ON (place) queue, enqueued_at, id
                  FROM seen
                 WHERE place IN (SELECT place FROM seen GROUP BY place HAVING count(*) = $10 AND NOT bool_and(known))
                 ORDER BY place, enqueued_at DESC, id DESC
            ), locked AS MATERIALIZED (
                SELECT id, ctid AS row, task_name, queue, true AS known, crash_count >= $4 AS suspect
                  FROM tasks
                 WHERE ctid = ANY (ARRAY (SELECT row FROM seen WHERE known)) AND status = 'pending'
                   AND (workflow_id IS NULL OR NOT EXISTS (
                            SELECT FROM workflows w
                             WHERE w.id = tasks.workflow_id
                               AND (w.paused_at IS NOT NULL OR w.cancel_requested_at IS NOT NULL)))
                 ORDER BY array_position($2::text[], queue), enqueued_at, id
                 -- the limit stops the locking, so that rows of later queues are not even locked
                 LIMIT $6
                   FOR NO KEY UPDATE SKIP LOCKED
            )
        "#,
        claimant,
        poll.limit,
        poll.min_age_seconds,
        &times,
        &ids as _,
        WINDOW
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
        if let (Some(queues), Some(times), Some(ids)) =
            (row.stopped_queues, row.stopped_times, row.stopped_ids)
        {
            // the three arrays come from three subqueries over one CTE, which is read in one order
            claim.stopped_at = queues.into_iter().zip(times.into_iter().zip(ids)).collect();
        }
        // one row comes back even without a claimed task; its task columns are null
        let Some(id) = row.id else { continue };
        if let Some(routable) = row.routable {
            claim.misrouted.push(Misrouted {
                id,
                queue: row.queue.unwrap_or_else(QueueName::default_class),
                task_name: row.task_name.unwrap_or_default(),
                routable,
            });
            continue;
        }
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
            due_at: row.due_at.unwrap_or_default(),
            started_at: row.started_at.unwrap_or_default(),
            step: row.step.as_deref().and_then(ClaimedStep::parse),
        });
    }
    claim
}
