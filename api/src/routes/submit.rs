//! `POST /tasks/submit`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use tasker_shared::store::insert::NewTask;
use tasker_shared::task::QueueName;
use tasker_shared::telemetry::traces;
use tasker_shared::wire::Submitted;
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
/// Answers when the task is stored durably. With an idempotency key the same request makes one task, however often it
/// is sent.
#[utoipa::path(
    post,
    path = "/tasks/submit",
    tag = "tasks",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The same as the field `idempotency_key`"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, kept with the task"),
    ),
    request_body = SubmitRequest,
    responses(
        (status = 202, body = Submitted, description = "Stored", headers(("Location" = String))),
        (status = 200, body = Submitted, description = "An earlier task with the same key", headers(("Location" = String))),
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
    caller.check_submit(&task.task_name, &task.queue)?;
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

/// What the headers say about the tasks of a request.
pub(super) fn read_headers(headers: &HeaderMap) -> Result<Headers, ApiError> {
    let wrong = |detail| ApiError::invalid(ValidationErrorKind::Invalid, "Idempotency-Key", detail);
    let mut keys = headers.get_all("idempotency-key").iter();
    let key = keys
        .next()
        .map(|value| std::str::from_utf8(value.as_bytes()).map(ToOwned::to_owned))
        .transpose()
        .map_err(|_| wrong("is no UTF-8"))?;
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

/// Returns the task of a request. A type or a queue that this server does not know is asked for once more: it may be new.
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
            // on the heap: every submit would carry the room for what hardly any does
            Box::pin(refresh(state, &errors)).await?;
            check().map_err(ApiError::Invalid)
        }
        result => result.map_err(ApiError::Invalid),
    }
}

/// Returns true if a fault may be due to a copy that lacks what is new in Postgres.
pub(super) fn names_unknown(errors: &[ValidationError]) -> bool {
    has(errors, ValidationErrorKind::UnknownTaskType) || has(errors, ValidationErrorKind::UnknownQueue)
}

/// Reads the types or the queues from Postgres again, where `faults` say that one is unknown.
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

/// This server's time. It only judges whether a `run_at` is absurdly far ahead.
#[expect(
    clippy::disallowed_methods,
    reason = "decides nothing that Postgres's clock decides"
)]
fn server_time() -> DateTime<Utc> {
    Utc::now()
}
