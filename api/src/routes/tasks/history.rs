//! `GET /tasks/{id}/history`

use axum::Json;
use axum::extract::State;
use tasker_store::{history, records};
use tasker_wire::History;

use crate::db::Db;
use crate::error::ApiError;
use crate::history::timeline;
use crate::http::path::TaskPath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::TaskProblems;

/// Get the history of a task
#[utoipa::path(
    get,
    path = "/tasks/{id}/history",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses((status = 200, body = History, description = "The state transitions, oldest first"), TaskProblems),
)]
pub async fn task_history(
    State(db): State<Db>,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<Json<History>, ApiError> {
    // events before the record: an event between the two reads is then left out, while in the other order the
    // events could be newer than the record that the history is completed from
    let events = history::events(&db, id).await?;
    let record = records::get(&db, id).await?.ok_or(ApiError::TaskNotFound(id))?;
    Ok(Json(History {
        events: timeline(&record, &events),
    }))
}
