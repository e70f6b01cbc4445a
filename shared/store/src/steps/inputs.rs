//! What a step is given to work with: the context of its workflow and the results of its parents.

use std::collections::HashMap;

use sqlx::PgExecutor;

use crate::records::earliest_end;
use crate::{Error, Result};
use tasker_core::task::{TaskId, TaskStatus};

/// A parent whose end a step reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Parent {
    /// The workflow of both.
    pub workflow: TaskId,
    /// The name of the parent.
    pub step: String,
}

/// How a parent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentEnd {
    /// Its state.
    pub status: TaskStatus,
    /// JSON text of its result, if it has one.
    pub result: Option<String>,
    /// Its last error, if it failed.
    pub error: Option<String>,
}

/// Returns the contexts of `workflows`, as JSON texts. One that is not returned is over.
pub async fn contexts(db: impl PgExecutor<'_>, workflows: &[TaskId]) -> Result<HashMap<TaskId, String>> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: TaskId", context::text AS "context!" FROM workflows WHERE id = ANY ($1::uuid[])"#,
        workflows as _,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.context)).collect())
}

/// Returns how `parents` ended. One that is not returned has not ended.
pub async fn parents(db: impl PgExecutor<'_>, parents: &[Parent]) -> Result<HashMap<Parent, ParentEnd>> {
    let workflows: Vec<TaskId> = parents.iter().map(|parent| parent.workflow).collect();
    let steps: Vec<&str> = parents.iter().map(|parent| parent.step.as_str()).collect();
    // no step ends before its workflow's id was made, but for what clocks differ by; Postgres leaves out the
    // partitions before that
    let since: Vec<_> = parents
        .iter()
        .map(|parent| earliest_end(parent.workflow))
        .collect();
    // look-ups one by one: a join could be planned as a scan while the table is empty (see `store`). A parent
    // is a dead letter of `tasks` if only some of its edges have fired
    let rows = sqlx::query!(
        r#"
        SELECT i.workflow_id AS "workflow: TaskId", i.step AS "step!", e.status AS "status!: TaskStatus",
               e.result::text AS result, e.error
          FROM UNNEST($1::uuid[], $2::text[], $3::timestamptz[]) AS i(workflow_id, step, since)
         CROSS JOIN LATERAL (
                   SELECT status, result, error
                     FROM finished_tasks f
                    WHERE f.workflow_id = i.workflow_id AND f.step = i.step AND f.completed_at >= i.since
                    UNION ALL
                   SELECT status, NULL::json, error
                     FROM tasks t
                    WHERE t.workflow_id = i.workflow_id AND t.step = i.step AND t.status = 'dead_letter'
                   OFFSET 0
               ) AS e
        "#,
        workflows as _,
        steps as _,
        &since,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)?;
    let ends = rows.into_iter().filter_map(|row| {
        let parent = Parent {
            workflow: row.workflow?,
            step: row.step,
        };
        let end = ParentEnd {
            status: row.status,
            result: row.result,
            error: row.error,
        };
        Some((parent, end))
    });
    Ok(ends.collect())
}
