//! `GET /tasks`

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use tasker_core::task::TaskStatus;
use tasker_store::records::{self, Filter};
use tasker_wire::TaskPage;

use crate::auth::Caller;
use crate::cursor;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::query::Query;
use crate::http::values::stored_time_of;
use crate::openapi::problem_groups::QueryProblems;
use crate::routes::params::{LIMIT, read_cursor, read_limit, read_queue};
use crate::routes::view;

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
    State(db): State<Db>,
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
    let before = read_cursor(cursor, &name)?;
    let page = records::list(&db, &filter, before, limit).await?;
    let tasks = page.tasks.into_iter().map(view::task).collect::<Result<_, _>>()?;
    let next_cursor = page.next.map(|id| cursor::encode(id, &name));
    Ok(Json(TaskPage { tasks, next_cursor }))
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

fn read_status(text: &str) -> Result<TaskStatus, String> {
    TaskStatus::parse(text).ok_or_else(|| format!("must be one of {}", TaskStatus::NAMES.join(", ")))
}

/// Returns the canonical text of a filter.
fn canonical(filter: &Filter) -> String {
    let mut text = String::new();
    // Debug text quotes and escapes values, so that two filters never have the same text
    let _ = write!(text, "{filter:?}");
    text
}
