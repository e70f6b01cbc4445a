//! `GET /v1/workflows/{id}/workflow_steps` and `GET /v1/workflows/{id}/workflow_steps/{step}`

use axum::Json;
use axum::extract::State;
use tasker_core::task::{TaskId, TaskStatus};
use tasker_store::workflows;
use tasker_wire::{WorkflowStep, WorkflowSteps};

use super::view;
use crate::cursor;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::path::{StepPath, WorkflowPath};
use crate::http::query::{NoQuery, Query};
use crate::openapi::problem_groups::WorkflowProblems;
use crate::routes::params::{LIMIT, read_cursor, read_limit};

/// List the steps of a workflow
#[utoipa::path(
    get,
    path = "/v1/workflows/{id}/workflow_steps",
    tag = "workflows",
    params(
        ("id" = uuid::Uuid, Path, description = "The workflow"),
        ("status" = Option<String>, Query, description = "Only steps in this state"),
        ("limit" = Option<i64>, Query, description = "1 to 1,000; default 50", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; requires the same filter"),
    ),
    responses((status = 200, body = WorkflowSteps, description = "One page"), WorkflowProblems),
)]
pub async fn list_steps(
    State(db): State<Db>,
    WorkflowPath(id): WorkflowPath,
    mut query: Query,
) -> Result<Json<WorkflowSteps>, ApiError> {
    let status = query.take("status", |text| {
        TaskStatus::parse(text).ok_or_else(|| format!("must be one of {}", TaskStatus::NAMES.join(", ")))
    });
    let limit = query.take("limit", read_limit).unwrap_or(LIMIT);
    let cursor = query.take("cursor", |text| Ok::<_, String>(text.to_owned()));
    query.finish()?;
    let name = format!("{id} {status:?}");
    let above = read_cursor(cursor, &name)?.unwrap_or(TaskId::MIN);
    let found = workflows::steps(&db, id, None, status, above, limit).await?;
    let full = i64::try_from(found.len()) == Ok(limit);
    let next_cursor = found
        .last()
        .filter(|_| full)
        .map(|last| cursor::encode(last.id, &name));
    Ok(Json(WorkflowSteps {
        steps: found.into_iter().map(view::step).collect::<Result<_, _>>()?,
        next_cursor,
    }))
}

/// Get one step of a workflow
///
/// By its name or its id.
#[utoipa::path(
    get,
    path = "/v1/workflows/{id}/workflow_steps/{step}",
    tag = "workflows",
    params(
        ("id" = uuid::Uuid, Path, description = "The workflow"),
        ("step" = String, Path, description = "The name or the id of the step"),
    ),
    responses((status = 200, body = WorkflowStep, description = "The step"), WorkflowProblems),
)]
pub async fn get_step(
    State(db): State<Db>,
    path: StepPath,
    _: NoQuery,
) -> Result<Json<WorkflowStep>, ApiError> {
    let record = path.find(&db).await?;
    view::step(record).map(Json)
}
