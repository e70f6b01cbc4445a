//! `GET /tasks/{id}/result`

use axum::Json;
use axum::extract::State;
use tasker_store::records;
use tasker_wire::{Problem, TaskResult};

use crate::db::Db;
use crate::error::ApiError;
use crate::http::path::TaskPath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::TaskProblems;
use crate::routes::view;

/// Get the result of a finished task
#[utoipa::path(
    get,
    path = "/tasks/{id}/result",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses(
        (status = 200, body = TaskResult, description = "The state of the task and its result"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The task is not terminal"),
        TaskProblems,
    ),
)]
pub async fn task_result(
    State(db): State<Db>,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<Json<TaskResult>, ApiError> {
    let record = records::get(&db, id).await?.ok_or(ApiError::TaskNotFound(id))?;
    if !record.status.is_terminal() {
        return Err(ApiError::NotFinished(record.status));
    }
    view::result(record).map(Json)
}
