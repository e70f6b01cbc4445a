//! `GET /tasks/{id}/explain`

use axum::Json;
use axum::extract::State;
use tasker_store::explain::facts;
use tasker_wire::Explanation;

use crate::error::ApiError;
use crate::explain::explain;
use crate::http::path::TaskPath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::TaskProblems;
use crate::state::parts::Fleet;

/// Explain why a task is not running
///
/// Codes: `waits_its_turn`, `other_queues_first`, `queue_paused`, `no_worker_for_queue`,
/// `no_worker_for_type`, `suspect_runs_alone`, `due_later`, `waiting_for_parents`, `last_run_lost`,
/// `running`, `cancel_requested`, `finished`.
#[utoipa::path(
    get,
    path = "/tasks/{id}/explain",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses((status = 200, body = Explanation, description = "The reasons, the main cause first"), TaskProblems),
)]
pub async fn explain_task(
    State(fleet): State<Fleet>,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<Json<Explanation>, ApiError> {
    let facts = facts(&fleet.db, id, fleet.worker_timeout.as_secs_f64())
        .await?
        .ok_or(ApiError::TaskNotFound(id))?;
    Ok(Json(explain(id, &facts)))
}
