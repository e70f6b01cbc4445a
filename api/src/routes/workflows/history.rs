//! `GET /v1/workflows/{id}/history`

use axum::Json;
use axum::extract::State;
use tasker_store::workflows;
use tasker_wire::{WorkflowChange, WorkflowHistory};

use crate::db::Db;
use crate::error::ApiError;
use crate::http::path::WorkflowPath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::WorkflowProblems;

/// The maximum number of changes that are returned.
const CHANGES_MAX: i64 = 1_000;

/// List what changed a workflow, oldest first
///
/// The history of each step is that of its task.
#[utoipa::path(
    get,
    path = "/v1/workflows/{id}/history",
    tag = "workflows",
    params(("id" = uuid::Uuid, Path, description = "The workflow")),
    responses((status = 200, body = WorkflowHistory, description = "At most 1,000 changes"), WorkflowProblems),
)]
pub async fn workflow_history(
    State(db): State<Db>,
    WorkflowPath(id): WorkflowPath,
    _: NoQuery,
) -> Result<Json<WorkflowHistory>, ApiError> {
    let events = workflows::history(&db, id, CHANGES_MAX).await?;
    let events = events.into_iter().map(|event| WorkflowChange {
        at: event.at,
        from: event.from,
        to: event.to,
        step: event.step,
        reason: event.reason,
        actor: event.actor,
    });
    Ok(Json(WorkflowHistory {
        events: events.collect(),
    }))
}
