//! The statement around every way in which a step ends.

use std::time::Instant;

use metrics::counter;
use tasker_core::task::{Hint, QueueName, TaskId, TaskStatus};

use super::finalization::{Ends, record};
use crate::Result;
use crate::end_runs::Ended;

/// The number of steps made ready per ended step above which they go to the tail of their lists: one wide
/// fan-out must not push aside what waits.
const CONTINUATIONS_MAX: usize = 32;

/// The result of a statement that ends runs of steps.
#[derive(Debug, Clone, Default)]
pub struct Advance {
    /// The steps whose runs ended, with their new states.
    pub ended: Vec<Ended>,
    /// Hints of the steps that are pending now, for the caller to push. A continuation goes to the head of
    /// its list, so that work which has begun is finished first.
    pub ready: Vec<Hint>,
    /// Steps that have to be skipped now. The caller sends them with [`skip_wave`](super::skip_wave); if it
    /// dies before, the leader does.
    pub to_skip: Vec<TaskId>,
    /// Workflows that ended.
    pub over: Vec<TaskId>,
    /// The number of joins before the end of a workflow that were counted down and wait for more edges.
    pub not_over: usize,
    /// The number of edges that arrived where all had arrived before: at a join that is gone or below zero.
    /// It is a fault of an earlier statement.
    pub late_edges: usize,
    /// The number of times the end of a workflow was reached that had already ended.
    pub late_ends: usize,
}

/// One row of the answer: a run that ended, a step that is ready or to be skipped, a workflow that is over,
/// or what is counted for the metrics.
pub(super) struct Row {
    pub(super) role: Role,
    pub(super) id: TaskId,
    pub(super) task_name: Option<String>,
    pub(super) queue: Option<QueueName>,
    pub(super) status: Option<TaskStatus>,
    pub(super) priority: Option<i16>,
}

/// What a row of the answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role(i32);

impl From<i32> for Role {
    fn from(role: i32) -> Self {
        Self(role)
    }
}

const ENDED: Role = Role(0);
const READY: Role = Role(1);
const TO_SKIP: Role = Role(2);
const NOT_OVER: Role = Role(4);
const LATE_EDGE: Role = Role(5);
const LATE_END: Role = Role(6);

/// Ends runs of steps, or steps without a run, around the part that picks and locks their rows and decides
/// the next state. That part reads from `local` and gives (id, `task_name`, queue, `from_status`, runs,
/// `worker_id`, `started_at`, `enqueued_at`, attempts, `crash_count`, next, `retry_seconds`, `dead_reason`,
/// attempt, reason, error, actor, result, report, `workflow_id`, targets, kinds).
///
/// Locks are taken in one order, each kind in a CTE that the next one reads: the picked rows, joins,
/// workflows, waiting rows; each by id. A lock returns the newest version of its row, so what is computed
/// from it is final and is written as an absolute value.
///
/// `hits:` takes a query of further hits (target, `leads_to`, arrived, good) that no step brings, to repair
/// what they reach; without it there are none.
///
/// Commits synchronously. `tasker.advance` tells the trigger on `tasks` that the edges are followed.
macro_rules! advanced_rows {
    ([$($picked:tt),+], hits: [$more_hits:tt], $($argument:tt)*) => {
        sqlx::query_as!(
            $crate::steps::advance::Row,
            r#"
            WITH local AS MATERIALIZED (
                SELECT set_config('tasker.advance', 'on', true), set_config('lock_timeout', '5s', true),
                       set_config('synchronous_commit',
                                  CASE current_setting('synchronous_commit')
                                       WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)
            ), picked AS MATERIALIZED (
            "# $(+ $picked)+
                + r#"
            ), edges AS MATERIALIZED (
                SELECT p.id, u.target, u.kind, p.next <> 'dead_letter' OR u.kind & 3 <> 0 AS fires,
                       CASE p.next WHEN 'skipped' THEN false
                                   WHEN 'dead_letter' THEN u.kind & 3 IN (1, 3)
                                   ELSE u.kind & 3 <> 3 END AS good
                  FROM picked p
                 CROSS JOIN LATERAL UNNEST(p.targets, p.kinds) AS u(target, kind)
                 WHERE p.next IN ('completed', 'skipped', 'dead_letter', 'resolved_manually')
            ), stays AS MATERIALIZED (
                -- a dead letter with an edge that does not fire blocks its workflow and waits for an operator
                SELECT id, next = 'dead_letter' AS blocks
                  FROM picked p
                 WHERE next IN ('pending', 'scheduled', 'retry_scheduled')
                    OR (next = 'dead_letter' AND EXISTS (SELECT FROM edges e WHERE e.id = p.id AND NOT e.fires))
            ), hits AS MATERIALIZED (
                -- grouped: several parents of one join may end in one statement
                SELECT target, kind & 112 AS leads_to, count(*)::integer AS arrived,
                       (count(*) FILTER (WHERE good))::integer AS good
                  FROM edges
                 WHERE fires
                 GROUP BY target, kind & 112
                "# + $more_hits + r#"
            ), joined AS MATERIALIZED (
                SELECT j.id, j.size, j.rule, j.targets, j.kinds, j.pending - h.arrived AS pending, j.good + h.good AS good
                  FROM (SELECT * FROM hits WHERE leads_to = 32 ORDER BY target) AS h
                 CROSS JOIN LATERAL (SELECT * FROM step_joins WHERE id = h.target FOR NO KEY UPDATE) AS j
            ), left_over AS MATERIALIZED (
                SELECT array_agg(id ORDER BY id) AS ids, array_agg(pending ORDER BY id) AS pending,
                       array_agg(good ORDER BY id) AS good
                  FROM joined
                 WHERE pending > 0
            ), counted_down AS (
                UPDATE step_joins s
                   SET pending = l.pending[array_position(l.ids, s.id)], good = l.good[array_position(l.ids, s.id)]
                  FROM left_over l
                 -- an array finds the rows; a join could be planned as a scan (see `store`)
                 WHERE s.id = ANY (ARRAY (SELECT id FROM joined WHERE pending > 0))
            ), opened AS (
                DELETE FROM step_joins WHERE id = ANY (ARRAY (SELECT id FROM joined WHERE pending <= 0))
            ), reached AS MATERIALIZED (
                SELECT target, leads_to, good > 0 AS good FROM hits WHERE leads_to <> 32
                 UNION ALL
                SELECT u.target, u.kind & 112, CASE j.rule WHEN 0 THEN j.good > 0 ELSE j.good >= j.size END
                  FROM joined j
                 CROSS JOIN LATERAL UNNEST(j.targets, j.kinds) AS u(target, kind)
                 WHERE j.pending <= 0
            ), touched AS MATERIALIZED (
                SELECT w.*, x.over, GREATEST(w.failed + x.change, 0) AS failed_now,
                       w.gives_up AND x.change > 0 AND w.cancel_requested_at IS NULL AS stops
                  FROM (SELECT id, bool_or(over) AS over, sum(change)::integer AS change
                          FROM (SELECT target AS id, true AS over, 0 AS change FROM reached WHERE leads_to = 64
                                 UNION ALL
                                SELECT p.workflow_id, false,
                                       COALESCE(s.blocks, false)::integer - (p.from_status = 'dead_letter')::integer
                                  FROM picked p LEFT JOIN stays s ON s.id = p.id
                                 WHERE COALESCE(s.blocks, false) <> (p.from_status = 'dead_letter')
                               ) AS changes
                         GROUP BY id
                         ORDER BY id
                       ) AS x
                 CROSS JOIN LATERAL (SELECT * FROM workflows WHERE id = x.id FOR NO KEY UPDATE) AS w
            ), over AS (
                DELETE FROM workflows WHERE id = ANY (ARRAY (SELECT id FROM touched WHERE over))
            ), closed AS (
                INSERT INTO finished_workflows
                       (id, namespace, name, version, definition_hash, context, status, steps, failed, priority, queues, tags,
                        correlation_id, traceparent, idempotency_key, root_id, parent_step, created_at, deadline_at,
                        paused_at, cancel_requested_at, ends_as, reason, actor, finished_at)
                SELECT id, namespace, name, version, definition_hash, context, COALESCE(ends_as, 'complete'), steps, failed,
                       priority, queues, tags, correlation_id, traceparent, idempotency_key, root_id, parent_step,
                       created_at, deadline_at, paused_at, cancel_requested_at, ends_as, reason, actor, now()
                  FROM touched
                 WHERE over
            ), changed AS (
                UPDATE workflows w
                   SET failed = t.failed_now,
                       status = CASE WHEN t.failed_now > 0 THEN 'blocked_by_failures'
                                     ELSE 'steps_in_process' END::workflow_status,
                       cancel_requested_at = CASE WHEN t.stops THEN now() ELSE t.cancel_requested_at END,
                       ends_as = CASE WHEN t.stops THEN 'error' ELSE t.ends_as END::workflow_status,
                       reason = CASE WHEN t.stops THEN 'step_failed' ELSE t.reason END
                  FROM touched t
                 WHERE w.id = ANY (ARRAY (SELECT id FROM touched WHERE NOT over)) AND (w.id = t.id) IS TRUE
            ), workflows_noted AS (
                INSERT INTO workflow_events (workflow_id, from_status, to_status, reason, actor)
                SELECT id, status, next, reason, actor
                  FROM (SELECT id, status, reason, actor,
                               CASE WHEN over THEN COALESCE(ends_as, 'complete')
                                    WHEN failed_now > 0 THEN 'blocked_by_failures'
                                    ELSE 'steps_in_process' END::workflow_status AS next
                          FROM touched
                       ) AS t
                 WHERE status <> next
            ), waiting AS MATERIALIZED (
                SELECT t.id, r.good AND COALESCE(t.marks, 0) & 1 = 0 AS runs
                  FROM (SELECT target, good
                          FROM reached
                         -- the count is there for the order of locks: workflows before waiting rows
                         WHERE leads_to = 16 AND (SELECT count(*) FROM touched) >= 0
                         ORDER BY target
                       ) AS r
                 CROSS JOIN LATERAL (SELECT id, marks FROM tasks WHERE id = r.target AND status = 'waiting'
                                        FOR NO KEY UPDATE) AS t
            ), readied AS (
                UPDATE tasks
                   SET status = 'pending', enqueued_at = now(), marks = COALESCE(marks, 0) | 4, updated_at = now()
                 WHERE id = ANY (ARRAY (SELECT id FROM waiting WHERE runs))
                RETURNING id, task_name, queue, priority
            ), to_skip AS (
                UPDATE tasks
                   SET marks = COALESCE(marks, 0) | 33, updated_at = now()
                 WHERE id = ANY (ARRAY (SELECT id FROM waiting WHERE NOT runs))
                RETURNING id
            ), kept AS (
                UPDATE tasks t
                   SET status = e.next, attempts = e.attempts, crash_count = e.crash_count, worker_id = NULL,
                       updated_at = now(), error = COALESCE(e.error, t.error),
                       reason = CASE WHEN e.next = 'dead_letter' THEN e.dead_reason END,
                       started_at = CASE WHEN e.next = 'dead_letter' THEN t.started_at END,
                       cancel_requested_at = NULL,
                       enqueued_at = CASE WHEN e.next = 'pending' AND e.from_status <> 'running' THEN now()
                                          ELSE t.enqueued_at END,
                       run_at = CASE WHEN e.next = 'retry_scheduled'
                                     THEN now() + make_interval(secs => e.retry_seconds) ELSE t.run_at END,
                       -- what has fired is gone, so a later end fires the rest
                       targets = CASE WHEN e.next <> 'dead_letter' THEN t.targets
                                      ELSE ARRAY (SELECT target FROM edges f WHERE f.id = t.id AND NOT fires
                                                   ORDER BY target, kind) END,
                       kinds = CASE WHEN e.next <> 'dead_letter' THEN t.kinds
                                    ELSE ARRAY (SELECT kind FROM edges f WHERE f.id = t.id AND NOT fires
                                                 ORDER BY target, kind) END
                  FROM picked e
                 WHERE t.id = ANY (ARRAY (SELECT id FROM stays)) AND (t.id = e.id) IS TRUE
            ), gone AS (
                DELETE FROM tasks
                 WHERE id = ANY (ARRAY (SELECT id FROM picked EXCEPT SELECT id FROM stays))
                RETURNING *
            ), moved AS (
                INSERT INTO finished_tasks
                       (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts,
                        max_attempts, crash_count, worker_id, idempotency_key, request_fingerprint, correlation_id,
                        traceparent, timeout_seconds, progress, error, reason, created_at, enqueued_at, run_at, started_at,
                        updated_at, result, completed_at, workflow_id, step, item, marks)
                SELECT t.id, t.task_name, t.queue, t.priority, t.parameters, t.metadata, t.tags, e.next, t.runs, e.attempts,
                       t.max_attempts, e.crash_count, t.worker_id, t.idempotency_key, t.request_fingerprint,
                       t.correlation_id, t.traceparent, t.timeout_seconds, COALESCE(e.report::json, t.progress),
                       COALESCE(e.error, t.error), CASE WHEN e.next = 'dead_letter' THEN e.dead_reason END, t.created_at,
                       t.enqueued_at, t.run_at, t.started_at, now(),
                       CASE WHEN e.next IN ('completed', 'resolved_manually') THEN e.result::json END, now(),
                       t.workflow_id, t.step, t.item, t.marks
                  FROM gone t
                  -- a full join is hashed or merged; any other could be planned as all with all (see `complete`)
                  FULL JOIN picked e ON e.id = t.id
                 WHERE COALESCE(t.step, '') <> ''
            ), counted AS (
                INSERT INTO task_total_deltas (task_name, queue, event, tasks)
                SELECT task_name, queue, event, count(*)
                  FROM (SELECT task_name, queue,
                               CASE WHEN next = 'resolved_manually' THEN 'resolved'
                                    WHEN next = 'dead_letter' AND id NOT IN (SELECT id FROM stays)
                                    THEN 'dead_letter_handled' ELSE next::text END AS event
                          FROM picked
                         WHERE next NOT IN ('pending', 'scheduled')
                       ) AS ends
                 GROUP BY task_name, queue, event
            ), noted AS (
                INSERT INTO task_events (task_id, from_status, to_status, run, attempt, worker_id, reason, error, actor,
                                         enqueued_at, started_at)
                -- the times are those of a run that ended; one that an operator's action follows has its event already
                SELECT id, from_status, next, runs, attempt, worker_id, reason, error, actor,
                       CASE WHEN from_status = 'running' THEN enqueued_at END,
                       CASE WHEN from_status = 'running' THEN started_at END
                  FROM picked
                 WHERE next <> 'completed'
            )
            SELECT 3 AS "role!: i32", id AS "id!: tasker_core::task::TaskId", NULL::text AS task_name, NULL::text AS "queue: tasker_core::task::QueueName",
                   NULL::task_status AS "status: tasker_core::task::TaskStatus", NULL::smallint AS priority
              FROM touched
             WHERE over
             UNION ALL
            SELECT 0, id, task_name, queue, next, NULL FROM picked
             UNION ALL
            SELECT 1, id, task_name, queue, NULL, priority FROM readied
             UNION ALL
            SELECT 2, id, NULL, NULL, NULL, NULL FROM to_skip
             UNION ALL
            SELECT CASE WHEN pending < 0 THEN 5 ELSE 4 END, id, NULL, NULL, NULL, NULL
              FROM joined
             WHERE pending < 0 OR (pending > 0 AND 64 = ANY (kinds))
             UNION ALL
            SELECT 5, target, NULL, NULL, NULL, NULL
              FROM (SELECT target FROM hits WHERE leads_to = 32 EXCEPT SELECT id FROM joined) AS late
             UNION ALL
            SELECT 6, target, NULL, NULL, NULL, NULL
              FROM (SELECT target FROM reached WHERE leads_to = 64 EXCEPT SELECT id FROM touched) AS late
            "#,
            $($argument)*
        )
    };
    ([$($picked:tt),+], $($argument:tt)*) => {
        $crate::steps::advance::advanced_rows!([$($picked),+], hits: [""], $($argument)*)
    };
}
pub(crate) use advanced_rows;

/// Sends a statement of [`advanced_rows!`], and counts what it did for the metrics.
pub(super) async fn answered(rows: impl Future<Output = sqlx::Result<Vec<Row>>>) -> Result<Advance> {
    let began = Instant::now();
    let advance = read(rows.await?);
    let ends = Ends {
        over: advance.over.len(),
        not_over: advance.not_over,
        late: advance.late_ends,
    };
    record(ends, began.elapsed());
    if advance.late_edges > 0 {
        counter!("tasker_workflow_late_edges_total").increment(advance.late_edges as u64);
    }
    Ok(advance)
}

/// Sorts the rows of the answer by what they are about.
fn read(rows: Vec<Row>) -> Advance {
    let mut advance = Advance::default();
    for row in rows {
        match row.role {
            ENDED => advance.ended.push(Ended {
                id: row.id,
                task_name: row.task_name.unwrap_or_default(),
                queue: row.queue.unwrap_or_else(QueueName::default_class),
                status: row.status.unwrap_or(TaskStatus::Completed),
            }),
            READY => {
                let queue = row.queue.unwrap_or_else(QueueName::default_class);
                let hint = Hint::new(row.id, queue, row.task_name.unwrap_or_default());
                advance
                    .ready
                    .push(hint.with_priority(row.priority.unwrap_or_default()));
            }
            TO_SKIP => advance.to_skip.push(row.id),
            NOT_OVER => advance.not_over += 1,
            LATE_EDGE => advance.late_edges += 1,
            LATE_END => advance.late_ends += 1,
            _ => advance.over.push(row.id),
        }
    }
    let few = advance.ready.len() <= CONTINUATIONS_MAX * advance.ended.len().max(1);
    for hint in &mut advance.ready {
        hint.urgent |= few;
    }
    advance
}
