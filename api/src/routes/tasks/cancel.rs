//! `POST /tasks/{id}/cancel` and `DELETE /tasks/{id}`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tasker_core::task::{TaskId, TaskStatus};
use tasker_store::cancel::{Cancelled, cancel};
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

/// Cancel a task
///
/// A waiting task is cancelled immediately. A running task is requested to stop and becomes `cancelled`
/// whatever its handler returns.
#[utoipa::path(
    post,
    path = "/tasks/{id}/cancel",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses(
        (status = 200, body = TaskActionResponse, description = "Cancelled"),
        (status = 202, body = TaskActionResponse, description = "The task runs; cancellation requested"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The task is already terminal"),
        TaskProblems,
    ),
)]
pub async fn cancel_task(
    State(actions): State<TaskActions>,
    caller: Caller,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<(StatusCode, Json<TaskActionResponse>), ApiError> {
    carry_out(&actions, id, caller.name()).await
}

/// Cancel a task
///
/// Equivalent to `POST /tasks/{id}/cancel`.
#[utoipa::path(
    delete,
    path = "/tasks/{id}",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses(
        (status = 200, body = TaskActionResponse, description = "Cancelled"),
        (status = 202, body = TaskActionResponse, description = "The task runs; cancellation requested"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The task is already terminal"),
        TaskProblems,
    ),
)]
pub async fn delete_task(
    State(actions): State<TaskActions>,
    caller: Caller,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<(StatusCode, Json<TaskActionResponse>), ApiError> {
    carry_out(&actions, id, caller.name()).await
}

async fn carry_out(
    actions: &TaskActions,
    id: TaskId,
    actor: &str,
) -> Result<(StatusCode, Json<TaskActionResponse>), ApiError> {
    let cancelled = retry_rolled_back(|| cancel(&actions.db, id, actor)).await;
    match cancelled.map_err(write_failed)? {
        Cancelled::Now(hint) => {
            metrics::counter!("tasker_operator_actions_total", "action" => "cancel").increment(1);
            // a hint that stays would be dropped at its pop, but counts in the queue's depth until then
            actions.pusher.remove(hint.into_iter().collect()).await;
            let answer = TaskActionResponse::new(id, TaskStatus::Cancelled, "The task is cancelled");
            Ok((StatusCode::OK, Json(answer)))
        }
        Cancelled::Requested => {
            metrics::counter!("tasker_operator_actions_total", "action" => "cancel").increment(1);
            // best effort: a worker that misses the notice reads the request from the row a second later
            if let Some(redis) = &actions.redis {
                let _ = redis
                    .ask(async |queue| queue.publish_cancellation(id).await)
                    .await;
            }
            let answer = TaskActionResponse::new(
                id,
                TaskStatus::Running,
                "The task is running; cancellation was requested",
            );
            Ok((StatusCode::ACCEPTED, Json(answer)))
        }
        Cancelled::AlreadyOver(status) => Err(ApiError::AlreadyOver(status)),
        Cancelled::OfWorkflow(workflow) => Err(ApiError::BelongsToWorkflow(workflow)),
        Cancelled::NotFound => Err(ApiError::TaskNotFound(id)),
    }
}
