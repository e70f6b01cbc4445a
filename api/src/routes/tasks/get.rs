//! `GET /tasks/{id}`

use axum::Json;
use axum::extract::State;
use tasker_store::records;
use tasker_wire::Task;

use crate::error::ApiError;
use crate::http::path::TaskPath;
use crate::http::query::Query;
use crate::openapi::problem_groups::TaskProblems;
use crate::routes::params::read_wait;
use crate::routes::view;
use crate::state::parts::TaskReads;

/// Get a task
///
/// With `wait`, responds when the task is terminal, or after that time with its current state.
#[utoipa::path(
    get,
    path = "/tasks/{id}",
    tag = "tasks",
    params(
        ("id" = uuid::Uuid, Path, description = "The task"),
        (
            "wait" = Option<String>,
            Query,
            description = "Wait up to this time for the task to finish: seconds, or text like `30s`; at most 60 s",
            example = "30",
        ),
    ),
    responses((status = 200, body = Task, description = "The whole record"), TaskProblems),
)]
pub async fn get_task(
    State(reads): State<TaskReads>,
    TaskPath(id): TaskPath,
    mut query: Query,
) -> Result<Json<Task>, ApiError> {
    let wait = query.take("wait", read_wait).unwrap_or_default();
    query.finish()?;
    let mut record = records::get(&reads.db, id)
        .await?
        .ok_or(ApiError::TaskNotFound(id))?;
    if !wait.is_zero() && !record.status.is_terminal() {
        let waiting = reads.watcher.wait_for(id)?;
        tokio::select! {
            () = waiting.over() => {}
            () = tokio::time::sleep(wait) => {}
            // waiting requests must not delay the shutdown: they are answered with the current state
            () = reads.shutdown.soft().cancelled() => {}
        }
        // read again also after a timeout, since the task may have changed meanwhile
        record = records::get(&reads.db, id)
            .await?
            .ok_or(ApiError::TaskNotFound(id))?;
    }
    view::task(record).map(Json)
}
