//! Definitions of workflows that no workflow refers to any more.

use sqlx::PgExecutor;

use super::{Error, Result};

/// The result of [`delete_unused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unused {
    /// Definitions deleted.
    pub deleted: i64,
    /// Definitions that a workflow still refers to. They count as used today.
    pub kept: i64,
}

/// Deletes up to `limit` definitions that no workflow was started with for `days` days, at least 2, and that
/// neither a live nor a finished workflow refers to.
///
/// A start marks a definition as used, unless it was on the same day, before it inserts it if it is missing.
/// So a definition that is old enough is locked either here or there, and never deleted under a new workflow.
pub async fn delete_unused(db: impl PgExecutor<'_>, days: u32, limit: i64) -> Result<Unused> {
    sqlx::query_as!(
        Unused,
        r#"
        WITH old AS MATERIALIZED (
            SELECT hash
              FROM workflow_definitions
             WHERE last_used_at < now() - make_interval(days => $1)
             ORDER BY last_used_at
             LIMIT $2
               FOR UPDATE SKIP LOCKED
        ), used AS MATERIALIZED (
            -- neither table is read if no definition is old
            SELECT definition_hash AS hash
              FROM workflows
             WHERE EXISTS (SELECT FROM old) AND definition_hash = ANY (ARRAY (SELECT hash FROM old))
             UNION
            SELECT definition_hash
              FROM finished_workflows
             WHERE EXISTS (SELECT FROM old) AND definition_hash = ANY (ARRAY (SELECT hash FROM old))
        ), deleted AS (
            DELETE FROM workflow_definitions
             WHERE hash = ANY (ARRAY (SELECT hash FROM old EXCEPT SELECT hash FROM used))
            RETURNING 1
        ), kept AS (
            -- so that the same workflow is not searched for again and again
            UPDATE workflow_definitions SET last_used_at = now() WHERE hash = ANY (ARRAY (SELECT hash FROM used))
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM deleted) AS "deleted!", (SELECT count(*) FROM kept) AS "kept!"
        "#,
        i32::try_from(days.max(2)).unwrap_or(i32::MAX),
        limit,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}
