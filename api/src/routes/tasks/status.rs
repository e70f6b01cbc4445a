//! `GET /tasks/{id}/status`

use axum::Json;
use axum::extract::State;
use tasker_store::records;
use tasker_wire::TaskState;

use crate::db::Db;
use crate::error::ApiError;
use crate::http::path::TaskPath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::TaskProblems;
use crate::routes::view;

/// Get the state of a task
#[utoipa::path(
    get,
    path = "/tasks/{id}/status",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses((status = 200, body = TaskState, description = "The state of the task"), TaskProblems),
)]
pub async fn task_status(
    State(db): State<Db>,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<Json<TaskState>, ApiError> {
    let record = records::get(&db, id).await?.ok_or(ApiError::TaskNotFound(id))?;
    view::state(record).map(Json)
}
