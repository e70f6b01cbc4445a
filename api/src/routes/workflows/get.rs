//! `GET /v1/workflows/{id}`

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tasker_core::task::{TaskId, TaskStatus};
use tasker_store::steps::inputs::{self, Parent};
use tasker_store::workflows::{self, WorkflowRecord};
use tasker_wire::Workflow;
use tasker_workflow::from_stored;
use tasker_workflow::resolve::{self, StepOutcome};
use tasker_workflow::states::WorkflowState;

use super::view;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::path::WorkflowPath;
use crate::http::query::Query;
use crate::openapi::problem_groups::WorkflowProblems;
use crate::routes::params::read_wait;
use crate::state::parts::WorkflowReads;

/// The maximum number of steps in a record.
const STEPS_MAX: i64 = 1_000;
/// The interval at which a waiting request reads the state.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

/// Get a workflow
///
/// With `wait`, responds when the workflow has ended, or after that time with its current state.
#[utoipa::path(
    get,
    path = "/v1/workflows/{id}",
    tag = "workflows",
    params(
        ("id" = uuid::Uuid, Path, description = "The workflow"),
        (
            "wait" = Option<String>,
            Query,
            description = "Wait up to this time for the workflow to end: seconds, or text like `30s`; at most 60 s",
            example = "30",
        ),
    ),
    responses((status = 200, body = Workflow, description = "The whole record"), WorkflowProblems),
)]
pub async fn get_workflow(
    State(reads): State<WorkflowReads>,
    WorkflowPath(id): WorkflowPath,
    mut query: Query,
) -> Result<Json<Workflow>, ApiError> {
    let wait = query.take("wait", read_wait).unwrap_or_default();
    query.finish()?;
    wait_for_end(&reads, id, wait).await?;
    record(&reads.db, id).await.map(Json)
}

/// Returns the record of a workflow.
pub(super) async fn record(db: &Db, id: TaskId) -> Result<Workflow, ApiError> {
    let record = workflows::get(db, id)
        .await?
        .ok_or(ApiError::WorkflowNotFound(id))?;
    let counts = workflows::counts(db, id).await?;
    let steps = workflows::steps(db, id, None, None, TaskId::MIN, STEPS_MAX).await?;
    let output = match &record.output {
        Some(output) => Some(output.clone()),
        None if record.status == WorkflowState::Complete.as_str() => output(db, &record).await?,
        None => None,
    };
    view::workflow(record, output, &counts, steps)
}

/// Returns the output of a workflow that is complete: what its definition makes of the results of its steps.
/// Null stands for one that cannot be made, since a value that it refers to is not there.
async fn output(db: &Db, record: &WorkflowRecord) -> Result<Option<String>, ApiError> {
    let Some(text) = workflows::definition(db, &record.definition_hash).await? else {
        return Ok(None);
    };
    let definition = from_stored(&text)
        .map_err(|invalid| ApiError::Internal(format!("a stored definition cannot be read: {invalid}")))?;
    let Some(output) = &definition.output else {
        return Ok(None);
    };
    let mut wanted = BTreeSet::new();
    output.for_each_reference(&mut |reference| wanted.extend(reference.step().map(ToOwned::to_owned)));
    let parents: Vec<Parent> = wanted
        .into_iter()
        .map(|step| Parent {
            workflow: record.id,
            step,
        })
        .collect();
    let ends = inputs::parents(db, &parents).await?;
    let outcome = |name: &str| {
        let end = ends.iter().find(|(parent, _)| parent.step == name)?.1;
        Some(match end.status {
            TaskStatus::DeadLetter => StepOutcome::Failed(end.error.as_deref().unwrap_or_default()),
            TaskStatus::Skipped => StepOutcome::Skipped,
            _ => StepOutcome::Completed(end.result.as_deref().unwrap_or("null")),
        })
    };
    Ok(resolve::value(output, &record.context, outcome).ok())
}

/// Waits until a workflow has ended, `wait` has passed, or the server stops.
pub(super) async fn wait_for_end(reads: &WorkflowReads, id: TaskId, wait: Duration) -> Result<(), ApiError> {
    let over = async {
        while !wait.is_zero() && workflows::is_live(&reads.db, id).await? {
            tokio::time::sleep(WAIT_INTERVAL).await;
        }
        Ok::<_, ApiError>(())
    };
    tokio::select! {
        over = over => over,
        () = tokio::time::sleep(wait) => Ok(()),
        // waiting requests must not delay the shutdown: they are answered with the current state
        () = reads.shutdown.soft().cancelled() => Ok(()),
    }
}
