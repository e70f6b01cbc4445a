//! `POST /tasks/submit`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use tasker_core::task::QueueName;
use tasker_platform::telemetry::traces;
use tasker_store::insert::NewTask;
use tasker_wire::Submitted;
use tracing::Span;

use super::view;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::body::SingleBody;
use crate::http::query::NoQuery;
use crate::openapi::SubmitProblems;
use crate::state::AppState;
use crate::submit::request::{SubmitRequest, read_single};
use crate::submit::validate::{Headers, Rules, is_traceparent, validate};
use crate::types::TypeTable;
use crate::validation_error::{ValidationError, ValidationErrorKind};

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
    State(state): State<AppState>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    SingleBody(body, held): SingleBody,
) -> Result<Response, ApiError> {
    let headers = read_headers(&headers)?;
    let task = {
        let request = read_single(&body)?;
        validated(&state, &request, &headers).await?
    };
    // after the validation, which resolves aliases and the queue of the priority
    let required = state.types.current().required_role(&task.task_name);
    caller.check_submit(required, &task.queue)?;
    // before the wait for the group commit: the task has its own copies of what it needs
    drop(body);
    let task_name = task.task_name.clone();
    let accepted = state.submitter.submit(task, held).await?;
    let status = if accepted.deduplicated {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let location = format!("/tasks/{}", accepted.id);
    Ok((
        status,
        [(header::LOCATION, location)],
        Json(view::submitted(task_name, accepted)),
    )
        .into_response())
}

/// Reads the headers that apply to the tasks of a request.
pub(super) fn read_headers(headers: &HeaderMap) -> Result<Headers, ApiError> {
    let wrong = |detail| ApiError::invalid(ValidationErrorKind::Invalid, "Idempotency-Key", detail);
    let mut keys = headers.get_all("idempotency-key").iter();
    let key = keys
        .next()
        .map(|value| std::str::from_utf8(value.as_bytes()).map(ToOwned::to_owned))
        .transpose()
        .map_err(|_| wrong("is not valid UTF-8"))?;
    if keys.next().is_some() {
        return Err(wrong("is given twice"));
    }
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let traceparent = traceparent
        .filter(|text| is_traceparent(text))
        .map(ToOwned::to_owned);
    Ok(Headers {
        key,
        // without one, the trace begins with this request
        traceparent: traceparent.or_else(|| traces::traceparent_of(&Span::current())),
    })
}

/// Returns the validated task of a request. If its type or queue is unknown, the copy of Postgres is
/// refreshed once, since the name may be new.
async fn validated(
    state: &AppState,
    request: &SubmitRequest<'_>,
    headers: &Headers,
) -> Result<NewTask, ApiError> {
    let check = || {
        let (types, queues) = (state.types.current(), state.queues.snapshot());
        validate(request, headers, rules(&types, &queues), "")
    };
    match check() {
        Err(errors) if names_unknown(&errors) => {
            // boxed, so that the future of every submit does not reserve space for this rare case
            Box::pin(refresh(state, &errors)).await?;
            check().map_err(ApiError::Invalid)
        }
        result => result.map_err(ApiError::Invalid),
    }
}

/// Returns true if an error may be due to an outdated copy of types or queues.
pub(super) fn names_unknown(errors: &[ValidationError]) -> bool {
    has(errors, ValidationErrorKind::UnknownTaskType) || has(errors, ValidationErrorKind::UnknownQueue)
}

/// Refreshes the types or the queues from Postgres if `errors` report an unknown one.
pub(super) async fn refresh(state: &AppState, errors: &[ValidationError]) -> Result<(), ApiError> {
    if has(errors, ValidationErrorKind::UnknownTaskType) {
        state.types.reload_after_miss().await?;
    }
    if has(errors, ValidationErrorKind::UnknownQueue) {
        state.queue_table.refresh().await?;
    }
    Ok(())
}

fn has(errors: &[ValidationError], kind: ValidationErrorKind) -> bool {
    errors.iter().any(|error| error.kind == kind)
}

pub(super) fn rules<'a>(types: &'a TypeTable, queues: &'a [QueueName]) -> Rules<'a> {
    Rules {
        types,
        queues,
        now: server_time(),
    }
}

/// Returns this server's time, which only limits how far ahead a `run_at` may be.
#[expect(
    clippy::disallowed_methods,
    reason = "decides nothing that Postgres's clock decides"
)]
fn server_time() -> DateTime<Utc> {
    Utc::now()
}
