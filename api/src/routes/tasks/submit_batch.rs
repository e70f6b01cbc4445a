//! `POST /tasks/submit/batch`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tasker_store::insert::NewTask;
use tasker_wire::BatchSubmitted;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::body::BatchBody;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::SubmitProblems;
use crate::routes::view;
use crate::state::parts::BatchSubmits;
use crate::submit::batch_intake;
use crate::submit::headers::Headers;
use crate::submit::request::BatchRequest;
use crate::submit::validate::ValidTask;
use crate::validation_error::ValidationErrorKind;

/// Submit many tasks
///
/// Stores all of them or none.
#[utoipa::path(
    post,
    path = "/tasks/submit/batch",
    tag = "tasks",
    params(("traceparent" = Option<String>, Header, description = "W3C trace context, stored with the tasks")),
    request_body = BatchRequest,
    responses((status = 202, body = BatchSubmitted, description = "All tasks are stored"), SubmitProblems),
)]
pub async fn submit_batch(
    State(submits): State<BatchSubmits>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    BatchBody(body, held): BatchBody,
) -> Result<Response, ApiError> {
    let headers = Headers::read(&headers)?;
    if headers.key.is_some() {
        return Err(ApiError::invalid(
            ValidationErrorKind::Invalid,
            "Idempotency-Key",
            "is not valid for a batch; set `idempotency_key` on each task",
        ));
    }
    let valid = batch_intake::tasks(&submits.names, &headers, body, submits.task_bytes_max).await?;
    let (tasks, not_stored): (Vec<NewTask>, Vec<Vec<String>>) = valid
        .into_iter()
        .map(|ValidTask { task, not_stored }| (task, not_stored))
        .unzip();
    let types = submits.names.types.current();
    tasks
        .iter()
        .try_for_each(|task| caller.check_submit(types.required_role(&task.task_name), &task.queue))?;
    // after the validation: a batch that is rejected does not use up the rate limit
    submits.auth.count_batch(&caller, tasks.len())?;
    let names: Vec<String> = tasks.iter().map(|task| task.task_name.clone()).collect();
    let accepted = submits.lane.submit(tasks, held).await?;
    let tasks: Vec<_> = names
        .into_iter()
        .zip(not_stored)
        .zip(accepted)
        .map(|((name, not_stored), accepted)| view::submitted(name, accepted, &not_stored))
        .collect();
    let answer = BatchSubmitted {
        accepted: tasks.len(),
        tasks,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}
