//! `POST /tasks/submit`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tasker_wire::Submitted;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::body::SingleBody;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::SubmitProblems;
use crate::routes::view;
use crate::state::parts::Submits;
use crate::submit::headers::Headers;
use crate::submit::intake;
use crate::submit::request::SubmitRequest;
use crate::submit::validate::ValidTask;

/// Submit a task
///
/// Responds after the task is committed. With an idempotency key, repeated requests create one task.
#[utoipa::path(
    post,
    path = "/tasks/submit",
    tag = "tasks",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Equivalent to the field `idempotency_key`"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, stored with the task"),
    ),
    request_body = SubmitRequest,
    responses(
        (status = 202, body = Submitted, description = "The task is stored", headers(("Location" = String))),
        (status = 200, body = Submitted, description = "The earlier task with the same key", headers(("Location" = String))),
        SubmitProblems,
    ),
)]
pub async fn submit(
    State(submits): State<Submits>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    SingleBody(body, held): SingleBody,
) -> Result<Response, ApiError> {
    let headers = Headers::read(&headers)?;
    let ValidTask { task, not_stored } = intake::task(&submits.names, &headers, &body).await?;
    // after the validation, which resolves aliases and the queue of the priority
    let required = submits.names.types.current().required_role(&task.task_name);
    caller.check_submit(required, &task.queue)?;
    // before the wait for the group commit: the task has its own copies of what it needs
    drop(body);
    let task_name = task.task_name.clone();
    let accepted = submits.submitter.submit(task, held).await?;
    let status = if accepted.deduplicated {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let location = format!("/tasks/{}", accepted.id);
    Ok((
        status,
        [(header::LOCATION, location)],
        Json(view::submitted(task_name, accepted, &not_stored)),
    )
        .into_response())
}
