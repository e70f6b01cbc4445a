//! `POST /tasks/{id}/retry`

use axum::Json;
use axum::extract::State;
use tasker_core::task::TaskStatus;
use tasker_store::operator_retry::{Retried, retry};
use tasker_store::retry_rolled_back;
use tasker_wire::Problem;

use super::action::TaskActionResponse;
use crate::auth::Caller;
use crate::db::write_failed;
use crate::error::ApiError;
use crate::http::path::TaskPath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::TaskProblems;
use crate::state::parts::TaskActions;

/// Retry a dead letter or a cancelled task
///
/// It becomes pending with its attempts reset.
#[utoipa::path(
    post,
    path = "/tasks/{id}/retry",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses(
        (status = 200, body = TaskActionResponse, description = "Pending again"),
        (status = 409, body = Problem, content_type = "application/problem+json",
         description = "The task is in another state, or another task that is not terminal holds its idempotency key"),
        TaskProblems,
    ),
)]
pub async fn retry_task(
    State(actions): State<TaskActions>,
    caller: Caller,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<Json<TaskActionResponse>, ApiError> {
    let ttl = actions.key_ttl.as_secs_f64();
    let outcome = retry_rolled_back(|| retry(&actions.db, id, caller.name(), ttl)).await;
    match outcome.map_err(write_failed)? {
        Retried::Pending(hint) => {
            metrics::counter!("tasker_operator_actions_total", "action" => "retry").increment(1);
            actions.pusher.push(vec![hint]).await;
            Ok(Json(TaskActionResponse::new(
                id,
                TaskStatus::Pending,
                "The task waits for a worker again",
            )))
        }
        Retried::WrongState(status) => Err(ApiError::NotRetryable(status)),
        Retried::KeyTaken(holder) => Err(ApiError::KeyTaken(holder)),
        Retried::OfWorkflow(workflow) => Err(ApiError::BelongsToWorkflow(workflow)),
        Retried::NotFound => Err(ApiError::TaskNotFound(id)),
    }
}
