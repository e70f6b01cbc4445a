//! Runs of steps that their worker did not end.

use sqlx::PgExecutor;

use super::advance::{Advance, advanced_rows, answered};
use crate::Result;
use crate::recover::{lost_runs, overdue_runs, runs_by_id, unknown_runs};
use tasker_core::task::Run;

/// Ends up to `limit` runs of steps whose worker is dead or unknown; see
/// [`recover`](crate::recover::recover).
pub async fn recover(db: impl PgExecutor<'_>, limit: i64) -> Result<Advance> {
    let rows = lost_runs!(
        advanced_rows,
        r#", NULL::text AS actor, NULL::text AS result, NULL::text AS report, t.workflow_id, t.targets, t.kinds"#,
        "local CROSS JOIN tasks t",
        "t.workflow_id IS NOT NULL",
        limit
    );
    answered(rows.fetch_all(db)).await
}

/// Ends up to `limit` runs of steps on live workers that exceeded their timeout by `grace_seconds`; see
/// [`end_overdue`](crate::recover::end_overdue).
pub async fn end_overdue(db: impl PgExecutor<'_>, grace_seconds: f64, limit: i64) -> Result<Advance> {
    let rows = overdue_runs!(
        advanced_rows,
        r#", NULL::text AS actor, NULL::text AS result, NULL::text AS report, t.workflow_id, t.targets, t.kinds"#,
        "local CROSS JOIN tasks t",
        "t.workflow_id IS NOT NULL",
        limit,
        grace_seconds
    );
    answered(rows.fetch_all(db)).await
}

/// Reclaims runs of steps that `worker_id` does not know of; see
/// [`reclaim_lost_claims`](crate::recover::reclaim_lost_claims).
pub async fn reclaim_lost_claims(
    db: impl PgExecutor<'_>,
    worker_id: &str,
    in_flight: &[Run],
) -> Result<Advance> {
    let (ids, numbers) = runs_by_id(in_flight);
    let rows = unknown_runs!(
        advanced_rows,
        r#", NULL::text AS actor, NULL::text AS result, NULL::text AS report, t.workflow_id, t.targets, t.kinds"#,
        "local CROSS JOIN tasks t",
        "t.workflow_id IS NOT NULL",
        worker_id,
        ids,
        &numbers
    );
    answered(rows.fetch_all(db)).await
}
