//! `POST /tasks/submit/batch`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tasker_core::task::limits::BATCH_TASKS;
use tasker_store::insert::NewTask;
use tasker_wire::BatchSubmitted;

use super::submit::{names_unknown, read_headers, refresh, rules};
use super::view;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::body::BatchBody;
use crate::http::query::NoQuery;
use crate::openapi::SubmitProblems;
use crate::state::AppState;
use crate::submit::request::{BatchRequest, SubmitRequest, read, read_batch};
use crate::submit::validate::{Headers, validate};
use crate::types::TypeTable;
use crate::validation_error::{ValidationError, ValidationErrorKind};

/// The maximum number of tasks whose errors are reported.
const BAD_TASKS_MAX: usize = 100;
/// The size in bytes up to which a body is validated on the async thread: that costs less than moving it to a
/// blocking one.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// The maximum number of reported errors.
const ERRORS_MAX: usize = 200;

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
    State(state): State<AppState>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    BatchBody(body, held): BatchBody,
) -> Result<Response, ApiError> {
    let headers = read_headers(&headers)?;
    if headers.key.is_some() {
        return Err(ApiError::invalid(
            ValidationErrorKind::Invalid,
            "Idempotency-Key",
            "is not valid for a batch; set `idempotency_key` on each task",
        ));
    }
    let tasks = validated(&state, &headers, body).await?;
    let types = state.types.current();
    tasks
        .iter()
        .try_for_each(|task| caller.check_submit(types.required_role(&task.task_name), &task.queue))?;
    // after the validation: a batch that is rejected does not use up the rate limit
    state.auth.count_batch(&caller, tasks.len())?;
    let names: Vec<String> = tasks.iter().map(|task| task.task_name.clone()).collect();
    let accepted = state.batches.submit(tasks, held).await?;
    let tasks: Vec<_> = names
        .into_iter()
        .zip(accepted)
        .map(|(name, accepted)| view::submitted(name, accepted))
        .collect();
    let answer = BatchSubmitted {
        accepted: tasks.len(),
        tasks,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Returns the validated tasks of a batch. A large body is validated on a blocking thread, so that other
/// requests are not delayed.
async fn validated(state: &AppState, headers: &Headers, body: Bytes) -> Result<Vec<NewTask>, ApiError> {
    let result = checked_aside(state, headers, body.clone()).await;
    match result {
        Err(ApiError::Invalid(errors)) if names_unknown(&errors) => {
            Box::pin(refresh(state, &errors)).await?;
            checked_aside(state, headers, body).await
        }
        result => result,
    }
}

async fn checked_aside(state: &AppState, headers: &Headers, body: Bytes) -> Result<Vec<NewTask>, ApiError> {
    let types = state.types.current();
    if body.len() <= INLINE_BYTES_MAX {
        return checked(state, &types, headers, &body);
    }
    let (state, headers) = (state.clone(), headers.clone());
    tokio::task::spawn_blocking(move || checked(&state, &types, &headers, &body))
        .await
        .map_err(|error| ApiError::Internal(format!("the validation of a batch failed: {error}")))?
}

fn checked(
    state: &AppState,
    types: &TypeTable,
    headers: &Headers,
    body: &[u8],
) -> Result<Vec<NewTask>, ApiError> {
    let BatchRequest { tasks: sent, errors } = read_batch(body)?;
    let (of_tasks, mut errors): (Vec<ValidationError>, Vec<ValidationError>) = errors
        .into_iter()
        .partition(|error| error.pointer.starts_with("/tasks/"));
    let fits = (1..=BATCH_TASKS).contains(&sent.len());
    if !fits && !errors.iter().any(|error| error.pointer == "/tasks") {
        let detail = format!("has {} tasks; the limits are 1 to {BATCH_TASKS}", sent.len());
        errors.push(ValidationError::invalid("/tasks", detail));
    }
    if !fits {
        return Err(ApiError::Invalid(errors));
    }
    let queues = state.queues.snapshot();
    let rules = rules(types, &queues);
    let mut tasks = Vec::with_capacity(sent.len());
    let mut bad_tasks = 0;
    for (index, raw) in sent.iter().enumerate() {
        let at = format!("/tasks/{index}");
        // the errors of values were found over the whole body; each task gets its own
        let found = below(&of_tasks, &at);
        let task = read_one(raw.get(), &at, found, state.max_body_bytes)
            .and_then(|request| validate(&request, headers, rules, &at));
        match task {
            Ok(task) => tasks.push(task),
            Err(found) => {
                errors.extend(found);
                bad_tasks += 1;
            }
        }
        // limits both the answer and the work on a batch that is wrong throughout
        if bad_tasks >= BAD_TASKS_MAX || errors.len() >= ERRORS_MAX {
            break;
        }
    }
    if errors.is_empty() {
        Ok(tasks)
    } else {
        Err(ApiError::Invalid(errors))
    }
}

/// Returns those of `errors` that are at or below the pointer `at`.
fn below(errors: &[ValidationError], at: &str) -> Vec<ValidationError> {
    let is_below = |error: &&ValidationError| {
        let rest = error.pointer.strip_prefix(at);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    errors.iter().filter(is_below).cloned().collect()
}

fn read_one<'a>(
    text: &'a str,
    at: &str,
    found: Vec<ValidationError>,
    bytes_max: usize,
) -> Result<SubmitRequest<'a>, Vec<ValidationError>> {
    if text.len() > bytes_max {
        return Err(vec![ValidationError::invalid(
            at,
            format!("has {} bytes; the maximum is {bytes_max}", text.len()),
        )]);
    }
    read(text, at, found).map_err(|error| match error {
        ApiError::Invalid(errors) => errors,
        _ => vec![ValidationError::invalid(at, "cannot be read")],
    })
}
