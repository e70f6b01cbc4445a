//! What an operator does to steps: retry, resolve, skip.

use sqlx::PgExecutor;

use super::advance::{Advance, advanced_rows, answered};
use crate::Result;
use tasker_core::task::TaskId;

/// What happens to the dead letters of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb<'a> {
    /// They run again, from their first attempt.
    Retry,
    /// They count as if they had succeeded with this result, JSON text.
    Resolve(&'a str),
    /// They are skipped.
    Skip,
}

impl Verb<'_> {
    fn next(self) -> &'static str {
        match self {
            Self::Retry => "pending",
            Self::Resolve(_) => "resolved_manually",
            Self::Skip => "skipped",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Resolve(_) => "resolved",
            Self::Skip => "skipped",
        }
    }
}

/// Applies `verb` to the dead letters of a live workflow that is not stopped: to all of them, or to the one
/// of that step. None is returned if there is none. `actor` is the user who asked and `reason` what they gave
/// as the reason, both for the history.
pub async fn operate(
    db: impl PgExecutor<'_>,
    workflow: TaskId,
    step: Option<TaskId>,
    verb: Verb<'_>,
    actor: &str,
    reason: Option<&str>,
) -> Result<Advance> {
    let result = match verb {
        Verb::Resolve(result) => Some(result),
        Verb::Retry | Verb::Skip => None,
    };
    let rows = advanced_rows!(
        [r#"
                SELECT t.id, t.task_name, t.queue, t.status AS from_status, t.runs, t.worker_id, t.started_at,
                       t.enqueued_at, CASE WHEN $3 = 'pending' THEN 0 ELSE t.attempts END AS attempts,
                       CASE WHEN $3 = 'pending' THEN 0 ELSE t.crash_count END AS crash_count, $3::text::task_status AS next,
                       NULL::double precision AS retry_seconds, NULL::text AS dead_reason, NULL::integer AS attempt,
                       $4::text AS reason, NULL::text AS error, $5::text AS actor, $6::text AS result, NULL::text AS report,
                       t.workflow_id, t.targets, t.kinds
                  FROM local
                 CROSS JOIN LATERAL (
                           SELECT *
                             FROM tasks
                            WHERE workflow_id = $1 AND ($2::uuid IS NULL OR id = $2) AND status = 'dead_letter'
                              AND EXISTS (SELECT FROM workflows w WHERE w.id = $1 AND w.cancel_requested_at IS NULL)
                            ORDER BY id
                              FOR NO KEY UPDATE
                       ) AS t
        "#],
        workflow as _,
        step.map(|step| step.0),
        verb.next(),
        reason.unwrap_or(verb.reason()),
        actor,
        result,
    )
    .fetch_all(db);
    answered(rows).await
}

/// Marks a step that waits for its parents: it is skipped once they have ended. Returns whether it waited.
pub async fn skip_later(
    db: impl PgExecutor<'_>,
    workflow: TaskId,
    step: TaskId,
    actor: &str,
) -> Result<bool> {
    let marked = sqlx::query_scalar!(
        r#"
        WITH marked AS (
            UPDATE tasks
               SET marks = COALESCE(marks, 0) | 1, updated_at = now()
             WHERE id = $2 AND workflow_id = $1 AND status = 'waiting'
            RETURNING id
        ), noted AS (
            INSERT INTO task_events (task_id, from_status, to_status, reason, actor)
            SELECT id, 'waiting', 'waiting', 'skip_requested', $3 FROM marked
        )
        SELECT count(*) AS "count!" FROM marked
        "#,
        workflow as _,
        step as _,
        actor,
    )
    .fetch_one(db)
    .await?;
    Ok(marked > 0)
}
