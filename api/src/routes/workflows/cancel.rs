//! The routes that stop a workflow: `POST /v1/workflows/{id}/cancel`, `DELETE /v1/workflows/{id}`,
//! `POST /v1/workflows/{id}/give_up`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tasker_core::task::TaskId;
use tasker_store::steps::stop::{self, EndsAs, Pass};
use tasker_store::{retry_rolled_back, workflows};
use tasker_wire::{Problem, WorkflowAction};

use crate::auth::Caller;
use crate::db::write_failed;
use crate::error::ApiError;
use crate::http::path::WorkflowPath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::WorkflowProblems;
use crate::state::parts::TaskActions;

/// The maximum number of steps of one pass.
const PASS_STEPS: i64 = 1_000;
/// The maximum number of passes in a request; the leader goes on with the rest.
const PASSES_MAX: usize = 20;

/// Cancel a workflow
///
/// No further step starts. Running steps are requested to stop; the workflow is `cancelled` when the last of
/// them has ended.
#[utoipa::path(
    post,
    path = "/v1/workflows/{id}/cancel",
    tag = "workflows",
    params(("id" = uuid::Uuid, Path, description = "The workflow")),
    responses(
        (status = 200, body = WorkflowAction, description = "Cancelled"),
        (status = 202, body = WorkflowAction, description = "Steps still run; they are requested to stop"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The workflow has already ended"),
        WorkflowProblems,
    ),
)]
pub async fn cancel_workflow(
    State(actions): State<TaskActions>,
    caller: Caller,
    WorkflowPath(id): WorkflowPath,
    _: NoQuery,
) -> Result<(StatusCode, Json<WorkflowAction>), ApiError> {
    carry_out(&actions, id, EndsAs::Cancelled, "cancelled", caller.name()).await
}

/// Cancel a workflow
///
/// Equivalent to `POST /v1/workflows/{id}/cancel`.
#[utoipa::path(
    delete,
    path = "/v1/workflows/{id}",
    tag = "workflows",
    params(("id" = uuid::Uuid, Path, description = "The workflow")),
    responses(
        (status = 200, body = WorkflowAction, description = "Cancelled"),
        (status = 202, body = WorkflowAction, description = "Steps still run; they are requested to stop"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The workflow has already ended"),
        WorkflowProblems,
    ),
)]
pub async fn delete_workflow(
    State(actions): State<TaskActions>,
    caller: Caller,
    WorkflowPath(id): WorkflowPath,
    _: NoQuery,
) -> Result<(StatusCode, Json<WorkflowAction>), ApiError> {
    carry_out(&actions, id, EndsAs::Cancelled, "cancelled", caller.name()).await
}

/// Give up a workflow
///
/// As a cancellation, but it ends as `error`.
#[utoipa::path(
    post,
    path = "/v1/workflows/{id}/give_up",
    tag = "workflows",
    params(("id" = uuid::Uuid, Path, description = "The workflow")),
    responses(
        (status = 200, body = WorkflowAction, description = "It has ended"),
        (status = 202, body = WorkflowAction, description = "Steps still run; they are requested to stop"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The workflow has already ended"),
        WorkflowProblems,
    ),
)]
pub async fn give_up_workflow(
    State(actions): State<TaskActions>,
    caller: Caller,
    WorkflowPath(id): WorkflowPath,
    _: NoQuery,
) -> Result<(StatusCode, Json<WorkflowAction>), ApiError> {
    carry_out(&actions, id, EndsAs::Error, "gave_up", caller.name()).await
}

async fn carry_out(
    actions: &TaskActions,
    id: TaskId,
    ends_as: EndsAs,
    reason: &str,
    actor: &str,
) -> Result<(StatusCode, Json<WorkflowAction>), ApiError> {
    let marked = retry_rolled_back(|| stop::mark(&actions.db, id, ends_as, reason, Some(actor))).await;
    if !marked.map_err(write_failed)? {
        let record = workflows::get(&actions.db, id).await?;
        let record = record.ok_or(ApiError::WorkflowNotFound(id))?;
        return Err(ApiError::WorkflowOver(record.status));
    }
    metrics::counter!("tasker_operator_actions_total", "action" => "stop_workflow").increment(1);
    let swept = sweep(actions, id).await?;
    let ended = retry_rolled_back(|| stop::end(&actions.db, id)).await;
    let code = if ended.map_err(write_failed)? {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let record = workflows::get(&actions.db, id)
        .await?
        .ok_or(ApiError::WorkflowNotFound(id))?;
    Ok((
        code,
        Json(WorkflowAction {
            workflow_id: id,
            status: record.status,
            cancelled: swept.cancelled,
            stopping: swept.told,
            finished: i64::from(record.steps) - swept.cancelled - swept.told,
            changed: 0,
        }),
    ))
}

/// Cancels the steps of a stopped workflow, pass after pass. The leader does what is left.
async fn sweep(actions: &TaskActions, id: TaskId) -> Result<Pass, ApiError> {
    let mut all = Pass::default();
    for _ in 0..PASSES_MAX {
        let pass = retry_rolled_back(|| stop::sweep(&actions.db, id, PASS_STEPS)).await;
        let pass = pass.map_err(write_failed)?;
        all.cancelled += pass.cancelled;
        all.told += pass.told;
        all.dead_letters += pass.dead_letters;
        // hints that stay would be dropped at their pop, but count in the queue's depth until then
        actions.pusher.remove(pass.hints).await;
        for run in pass.running {
            // best effort: a worker that misses the notice reads the request from the row a second later
            if let Some(redis) = &actions.redis {
                let _ = redis
                    .ask(async |queue| queue.publish_cancellation(run).await)
                    .await;
            }
        }
        if pass.cancelled + pass.told + pass.dead_letters < PASS_STEPS {
            break;
        }
    }
    Ok(all)
}
