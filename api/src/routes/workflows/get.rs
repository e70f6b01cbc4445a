//! `GET /v1/workflows/{id}`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tasker_core::task::TaskId;
use tasker_store::workflows;
use tasker_wire::Workflow;

use super::view;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::path::WorkflowPath;
use crate::http::query::Query;
use crate::openapi::problem_groups::WorkflowProblems;
use crate::routes::params::read_wait;
use crate::state::parts::WorkflowReads;

/// The maximum number of steps in a record.
const STEPS_MAX: i64 = 1_000;
/// The interval at which a waiting request reads the state.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

/// Get a workflow
///
/// With `wait`, responds when the workflow has ended, or after that time with its current state.
#[utoipa::path(
    get,
    path = "/v1/workflows/{id}",
    tag = "workflows",
    params(
        ("id" = uuid::Uuid, Path, description = "The workflow"),
        (
            "wait" = Option<String>,
            Query,
            description = "Wait up to this time for the workflow to end: seconds, or text like `30s`; at most 60 s",
            example = "30",
        ),
    ),
    responses((status = 200, body = Workflow, description = "The whole record"), WorkflowProblems),
)]
pub async fn get_workflow(
    State(reads): State<WorkflowReads>,
    WorkflowPath(id): WorkflowPath,
    mut query: Query,
) -> Result<Json<Workflow>, ApiError> {
    let wait = query.take("wait", read_wait).unwrap_or_default();
    query.finish()?;
    wait_for_end(&reads, id, wait).await?;
    record(&reads.db, id).await.map(Json)
}

/// Returns the record of a workflow.
pub(super) async fn record(db: &Db, id: TaskId) -> Result<Workflow, ApiError> {
    let record = workflows::get(db, id)
        .await?
        .ok_or(ApiError::WorkflowNotFound(id))?;
    let counts = workflows::counts(db, id).await?;
    let steps = workflows::steps(db, id, None, None, TaskId::MIN, STEPS_MAX).await?;
    view::workflow(record, &counts, steps)
}

/// Waits until a workflow has ended, `wait` has passed, or the server stops.
pub(super) async fn wait_for_end(reads: &WorkflowReads, id: TaskId, wait: Duration) -> Result<(), ApiError> {
    let over = async {
        while !wait.is_zero() && workflows::is_live(&reads.db, id).await? {
            tokio::time::sleep(WAIT_INTERVAL).await;
        }
        Ok::<_, ApiError>(())
    };
    tokio::select! {
        over = over => over,
        () = tokio::time::sleep(wait) => Ok(()),
        // waiting requests must not delay the shutdown: they are answered with the current state
        () = reads.shutdown.soft().cancelled() => Ok(()),
    }
}
