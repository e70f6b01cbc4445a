//! `GET /tasks/{id}/history`

use axum::Json;
use axum::extract::State;
use tasker_shared::store::{history, records};
use tasker_shared::wire::History;

use crate::error::ApiError;
use crate::history::timeline;
use crate::http::path::TaskPath;
use crate::http::query::NoQuery;
use crate::openapi::TaskProblems;
use crate::state::AppState;

/// What happened to a task
#[utoipa::path(
    get,
    path = "/tasks/{id}/history",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task")),
    responses((status = 200, body = History, description = "Its steps, oldest first"), TaskProblems),
)]
pub async fn task_history(
    State(state): State<AppState>,
    TaskPath(id): TaskPath,
    _: NoQuery,
) -> Result<Json<History>, ApiError> {
    // the events first: one that comes in between is then missing, and not told of a row that does not have it yet
    let events = history::events(&state.db, id).await?;
    let record = records::get(&state.db, id)
        .await?
        .ok_or(ApiError::TaskNotFound(id))?;
    Ok(Json(History {
        events: timeline(&record, &events),
    }))
}
