//! From the body of a batch to its tasks.

use bytes::Bytes;
use tasker_core::task::limits::BATCH_TASKS;

use super::headers::Headers;
use super::intake::rules;
use super::request::{BatchRequest, SubmitRequest, read, read_batch};
use super::validate::{ValidTask, validate};
use crate::error::ApiError;
use crate::known_names::{KnownNames, NamesSnapshot};
use crate::validation_error::ValidationError;

/// The maximum number of tasks whose errors are reported.
const BAD_TASKS_MAX: usize = 100;
/// The size in bytes up to which a body is validated on the async thread: that costs less than moving it to a
/// blocking one.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// The maximum number of reported errors.
const ERRORS_MAX: usize = 200;

/// Returns the validated tasks of a body, each of `task_bytes_max` bytes at most. A large body is validated
/// on a blocking thread, so that other requests are not delayed.
pub async fn tasks(
    names: &KnownNames,
    headers: &Headers,
    body: Bytes,
    task_bytes_max: usize,
) -> Result<Vec<ValidTask>, ApiError> {
    let check = |names| checked_aside(names, headers.clone(), body.clone(), task_bytes_max);
    names.checked(check).await
}

async fn checked_aside(
    names: NamesSnapshot,
    headers: Headers,
    body: Bytes,
    task_bytes_max: usize,
) -> Result<Vec<ValidTask>, ApiError> {
    if body.len() <= INLINE_BYTES_MAX {
        return checked(&names, &headers, &body, task_bytes_max);
    }
    tokio::task::spawn_blocking(move || checked(&names, &headers, &body, task_bytes_max))
        .await
        .map_err(|error| ApiError::Internal(format!("the validation of a batch failed: {error}")))?
}

fn checked(
    names: &NamesSnapshot,
    headers: &Headers,
    body: &[u8],
    task_bytes_max: usize,
) -> Result<Vec<ValidTask>, ApiError> {
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
    let rules = rules(names);
    let mut tasks = Vec::with_capacity(sent.len());
    let mut bad_tasks = 0;
    for (index, raw) in sent.iter().enumerate() {
        let at = format!("/tasks/{index}");
        // the errors of values were found over the whole body; each task gets its own
        let found = below(&of_tasks, &at);
        let task = read_one(raw.get(), &at, found, task_bytes_max)
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
