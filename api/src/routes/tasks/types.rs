//! `GET /tasks/types`

use axum::Json;
use axum::extract::State;
use tasker_store::task_types::{self, Registered};
use tasker_wire::{TaskType, TaskTypes};

use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::QueryProblems;
use crate::routes::view;
use crate::state::parts::Fleet;

/// List the registered task types
///
/// A type remains after its workers are gone.
#[utoipa::path(
    get,
    path = "/tasks/types",
    tag = "tasks",
    responses((status = 200, body = TaskTypes, description = "The types by name"), QueryProblems),
)]
pub async fn list_types(State(fleet): State<Fleet>, _: NoQuery) -> Result<Json<TaskTypes>, ApiError> {
    let registered = task_types::all(&fleet.db, fleet.worker_timeout.as_secs_f64()).await?;
    let types = registered.into_iter().map(shown).collect::<Result<_, _>>()?;
    Ok(Json(TaskTypes { types }))
}

fn shown(Registered { task_type, workers }: Registered) -> Result<TaskType, ApiError> {
    Ok(TaskType {
        parameters_schema: task_type.parameters_schema.map(view::raw).transpose()?,
        result_schema: task_type.result_schema.map(view::raw).transpose()?,
        required_role: task_type.required_role,
        name: task_type.name,
        description: task_type.description,
        queue: task_type.queue,
        max_retries: task_type.max_retries,
        timeout: task_type.timeout_seconds,
        workers,
    })
}
