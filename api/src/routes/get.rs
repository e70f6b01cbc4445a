//! `GET /tasks/{id}`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tasker_shared::store::records;
use tasker_shared::wire::Task;

use super::view;
use crate::error::ApiError;
use crate::http::path::TaskPath;
use crate::http::query::Query;
use crate::openapi::TaskProblems;
use crate::state::AppState;

/// Longest wait, in seconds.
const WAIT_SECONDS_MAX: u64 = 60;

/// Get a task
///
/// With `wait`, answers as soon as the task has ended, or after so many seconds as it is then.
#[utoipa::path(
    get,
    path = "/tasks/{id}",
    tag = "tasks",
    params(
        ("id" = uuid::Uuid, Path, description = "The task"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for the end, 0 to 60", maximum = 60),
    ),
    responses((status = 200, body = Task, description = "The whole record"), TaskProblems),
)]
pub async fn get_task(
    State(state): State<AppState>,
    TaskPath(id): TaskPath,
    mut query: Query,
) -> Result<Json<Task>, ApiError> {
    let wait = query.take("wait", wait_seconds).unwrap_or_default();
    query.finish()?;
    let mut record = records::get(&state.db, id)
        .await?
        .ok_or(ApiError::TaskNotFound(id))?;
    if !wait.is_zero() && !record.status.is_terminal() {
        let waiting = state.watcher.wait_for(id)?;
        tokio::select! {
            () = waiting.over() => {}
            () = tokio::time::sleep(wait) => {}
            () = state.shutdown.soft().cancelled() => {}
        }
        record = records::get(&state.db, id)
            .await?
            .ok_or(ApiError::TaskNotFound(id))?;
    }
    view::task(record).map(Json)
}

fn wait_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds <= WAIT_SECONDS_MAX => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "must be a whole number of seconds, 0 to {WAIT_SECONDS_MAX}"
        )),
    }
}
