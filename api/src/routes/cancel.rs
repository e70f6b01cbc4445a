//! `POST /tasks/{id}/cancel` and `DELETE /tasks/{id}`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tasker_shared::store::cancel::{Cancelled, cancel};
use tasker_shared::task::{TaskId, TaskStatus};
use tasker_shared::wire::Problem;

use crate::auth::Caller;
use crate::db::{retried, write_failed};
use crate::error::ApiError;
use crate::http::path::TaskPath;
use crate::http::query::NoQuery;
use crate::openapi::TaskProblems;
use crate::state::AppState;
use crate::task_action::TaskActionResponse;

/// Cancel a task
///
/// One that waits is cancelled at once. One that runs is told to stop and ends `cancelled`, whatever its handler returns.
#[utoipa::path(
    post,
    path = "/tasks/{id}/cancel",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses(
        (status = 200, body = TaskActionResponse, description = "Cancelled"),
        (status = 202, body = TaskActionResponse, description = "It runs, and is told to stop"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It has already ended"),
        TaskProblems,
    ),
)]
pub async fn cancel_task(
    State(state): State<AppState>,
    caller: Caller,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<(StatusCode, Json<TaskActionResponse>), ApiError> {
    carry_out(&state, id, caller.name()).await
}

/// Cancel a task
///
/// The same as `POST /tasks/{id}/cancel`.
#[utoipa::path(
    delete,
    path = "/tasks/{id}",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses(
        (status = 200, body = TaskActionResponse, description = "Cancelled"),
        (status = 202, body = TaskActionResponse, description = "It runs, and is told to stop"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It has already ended"),
        TaskProblems,
    ),
)]
pub async fn delete_task(
    State(state): State<AppState>,
    caller: Caller,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<(StatusCode, Json<TaskActionResponse>), ApiError> {
    carry_out(&state, id, caller.name()).await
}

async fn carry_out(
    state: &AppState,
    id: TaskId,
    actor: &str,
) -> Result<(StatusCode, Json<TaskActionResponse>), ApiError> {
    let cancelled = retried(|| cancel(&state.db, id, actor)).await;
    match cancelled.map_err(write_failed)? {
        Cancelled::Now(hint) => {
            metrics::counter!("tasker_operator_actions_total", "action" => "cancel").increment(1);
            state.pusher.remove(hint.into_iter().collect()).await;
            let answer = TaskActionResponse::new(id, TaskStatus::Cancelled, "The task is cancelled");
            Ok((StatusCode::OK, Json(answer)))
        }
        Cancelled::ToldToStop => {
            metrics::counter!("tasker_operator_actions_total", "action" => "cancel").increment(1);
            // the word is a hint: a worker that misses it sees the row a second later
            if state.mode.uses_redis() {
                let _ = state
                    .redis
                    .ask(async |queue| queue.publish_cancellation(id).await)
                    .await;
            }
            let answer =
                TaskActionResponse::new(id, TaskStatus::Running, "The task runs and is told to stop");
            Ok((StatusCode::ACCEPTED, Json(answer)))
        }
        Cancelled::AlreadyOver(status) => Err(ApiError::AlreadyOver(status)),
        Cancelled::NotFound => Err(ApiError::TaskNotFound(id)),
    }
}
