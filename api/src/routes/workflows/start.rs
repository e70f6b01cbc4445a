//! `POST /v1/workflows`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use tasker_core::task::TaskId;
use tasker_store::workflow_start::NewWorkflow;
use tasker_store::workflows;
use tasker_wire::{Problem, WorkflowLinks, WorkflowStarted};
use tasker_workflow::states::WorkflowState;

use super::get::{record, wait_for_end};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::body::SingleBody;
use crate::http::query::Query;
use crate::openapi::problem_groups::SubmitProblems;
use crate::routes::params::read_wait;
use crate::state::parts::{WorkflowReads, WorkflowStarts};
use crate::submit::headers::Headers;
use crate::workflows::{StartRequest, Started, WorkflowRequest, start};

/// The maximum number of steps of an earlier workflow that are listed.
const STEPS_MAX: i64 = 1_000;

/// Start a workflow
///
/// From a published template, or from the steps in the body. Responds after the workflow and its steps are
/// committed. With an idempotency key, repeated requests start one workflow.
#[utoipa::path(
    post,
    path = "/v1/workflows",
    tag = "workflows",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Equivalent to the field `idempotency_key`"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, stored with the steps"),
        (
            "wait" = Option<String>,
            Query,
            description = "Wait up to this time for the workflow to end, and respond with its record: seconds, or text like `30s`; at most 60 s",
            example = "30",
        ),
    ),
    request_body = WorkflowRequest,
    responses(
        (status = 201, body = WorkflowStarted, description = "The workflow is started", headers(("Location" = String))),
        (status = 200, body = WorkflowStarted, description = "The earlier workflow with the same key", headers(("Location" = String))),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "The template does not exist"),
        SubmitProblems,
    ),
)]
pub async fn start_workflow(
    State(starts): State<WorkflowStarts>,
    State(reads): State<WorkflowReads>,
    caller: Caller,
    mut query: Query,
    headers: HeaderMap,
    SingleBody(body, _held): SingleBody,
) -> Result<Response, ApiError> {
    let wait = query.take("wait", read_wait).unwrap_or_default();
    query.finish()?;
    let headers = Headers::read(&headers)?;
    let request = StartRequest::read(&body, &headers)?;
    drop(body);
    let started = start(&starts, &caller, request).await?;
    let (status, id) = match &started {
        Started::New(workflow, _) => (StatusCode::CREATED, workflow.id),
        Started::Earlier(id) => (StatusCode::OK, *id),
    };
    let location = [(header::LOCATION, format!("/v1/workflows/{id}"))];
    if !wait.is_zero() {
        wait_for_end(&reads, id, wait).await?;
        return Ok((status, location, Json(record(&reads.db, id).await?)).into_response());
    }
    let answer = match started {
        Started::New(workflow, created_at) => new(&workflow, created_at),
        Started::Earlier(id) => earlier(&reads, id).await?,
    };
    Ok((status, location, Json(answer)).into_response())
}

fn new(workflow: &NewWorkflow, created_at: DateTime<Utc>) -> WorkflowStarted {
    WorkflowStarted {
        workflow_id: workflow.id,
        task_uuid: workflow.id,
        status: WorkflowState::StepsInProcess.to_string(),
        step_count: workflow.steps.len(),
        steps: workflow
            .steps
            .iter()
            .map(|step| (step.name.clone(), step.id))
            .collect(),
        created_at,
        deduplicated: false,
        links: WorkflowLinks::of(workflow.id),
    }
}

async fn earlier(reads: &WorkflowReads, id: TaskId) -> Result<WorkflowStarted, ApiError> {
    let record = workflows::get(&reads.db, id)
        .await?
        .ok_or(ApiError::WorkflowNotFound(id))?;
    let steps = workflows::steps(&reads.db, id, None, None, TaskId::MIN, STEPS_MAX).await?;
    Ok(WorkflowStarted {
        workflow_id: id,
        task_uuid: id,
        status: record.status,
        step_count: usize::try_from(record.steps).unwrap_or_default(),
        steps: steps.into_iter().map(|step| (step.step, step.id)).collect(),
        created_at: record.created_at,
        deduplicated: true,
        links: WorkflowLinks::of(id),
    })
}
