//! `GET /tasks`

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use tasker_core::task::{QueueName, TaskStatus};
use tasker_store::records::{self, Filter};
use tasker_wire::TaskPage;

use super::view;
use crate::auth::Caller;
use crate::cursor;
use crate::error::ApiError;
use crate::http::query::Query;
use crate::http::values::stored_time_of;
use crate::openapi::QueryProblems;
use crate::state::AppState;
use crate::validation_error::ValidationErrorKind;

/// The default number of tasks of a page.
pub(super) const LIMIT: i64 = 50;
/// The maximum number of tasks of a page.
const LIMIT_MAX: i64 = 1_000;

/// List tasks, newest first
///
/// A page may have fewer tasks than `limit`; the list ends only where `next_cursor` is null.
#[utoipa::path(
    get,
    path = "/tasks",
    tag = "tasks",
    params(
        ("status" = Option<String>, Query, description = "Only tasks in this state"),
        ("queue" = Option<String>, Query, description = "Only tasks of this queue, by name or alias"),
        ("task_name" = Option<String>, Query, description = "Only tasks of this type"),
        ("tag" = Option<String>, Query, description = "Only tasks with this tag"),
        ("worker_id" = Option<String>, Query, description = "Only tasks that this worker runs or has run last"),
        ("created_after" = Option<DateTime<Utc>>, Query, description = "Created at this time or later"),
        ("created_before" = Option<DateTime<Utc>>, Query, description = "Created before this time"),
        ("limit" = Option<i64>, Query, description = "1 to 1,000; default 50", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; requires the same filter"),
    ),
    responses((status = 200, body = TaskPage, description = "One page"), QueryProblems),
)]
pub async fn list_tasks(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<TaskPage>, ApiError> {
    let mut filter = read_filter(&mut query);
    let queue = query.take("queue", read_queue);
    let limit = query.take("limit", read_limit).unwrap_or(LIMIT);
    let cursor = query.take("cursor", |text| Ok::<_, String>(text.to_owned()));
    query.finish()?;
    filter.queues = caller.visible(queue)?;
    // with the caller's queues: a cursor cannot be used by a caller who may see others
    let name = canonical(&filter);
    let before = match cursor {
        None => None,
        Some(text) => Some(cursor::decode(&text, &name).ok_or_else(invalid_cursor)?),
    };
    let page = records::list(&state.db, &filter, before, limit).await?;
    let tasks = page.tasks.into_iter().map(view::task).collect::<Result<_, _>>()?;
    let next_cursor = page.next.map(|id| cursor::encode(id, &name));
    Ok(Json(TaskPage { tasks, next_cursor }))
}

/// Returns the error of a cursor that another list or filter issued.
pub(super) fn invalid_cursor() -> ApiError {
    ApiError::invalid(
        ValidationErrorKind::InvalidCursor,
        "cursor",
        "was not issued by this list for this filter",
    )
}

fn read_filter(query: &mut Query) -> Filter {
    let text = |text: &str| Ok::<_, String>(text.to_owned());
    Filter {
        status: query.take("status", read_status),
        task_name: query.take("task_name", text),
        tag: query.take("tag", text),
        worker_id: query.take("worker_id", text),
        created_after: query.take("created_after", stored_time_of),
        created_before: query.take("created_before", stored_time_of),
        queues: None,
    }
}

pub(super) fn read_queue(text: &str) -> Result<QueueName, String> {
    QueueName::parse(text).map_err(|error| error.to_string())
}

fn read_status(text: &str) -> Result<TaskStatus, String> {
    TaskStatus::parse(text).ok_or_else(|| format!("must be one of {}", TaskStatus::NAMES.join(", ")))
}

pub(super) fn read_limit(text: &str) -> Result<i64, String> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("must be a whole number from 1 to {LIMIT_MAX}"))
}

/// Returns the canonical text of a filter.
fn canonical(filter: &Filter) -> String {
    let mut text = String::new();
    // Debug text quotes and escapes values, so that two filters never have the same text
    let _ = write!(text, "{filter:?}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_one_to_a_thousand() {
        for text in ["0", "-1", "1001", "1000000000", "ten", "", "99999999999999999999"] {
            assert!(read_limit(text).is_err(), "{text}");
        }
        assert_eq!((read_limit("1"), read_limit("1000")), (Ok(1), Ok(1000)));
    }
}
