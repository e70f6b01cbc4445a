//! `GET /dead-letters`

use axum::Json;
use axum::extract::State;
use tasker_store::dead_letters::{self, Filter};
use tasker_wire::TaskPage;

use super::filter::read_reason;
use crate::auth::Caller;
use crate::cursor;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::query::Query;
use crate::http::values::stored_time_of;
use crate::openapi::problem_groups::QueryProblems;
use crate::routes::params::{LIMIT, read_cursor, read_limit, read_queue};
use crate::routes::view;

/// List the dead letters, newest first
///
/// In the order of submission. A page may have fewer tasks than `limit`; the list ends only where
/// `next_cursor` is null. The `updated_at` of a dead letter is the time of its last failure.
#[utoipa::path(
    get,
    path = "/dead-letters",
    tag = "dead letters",
    params(
        ("task_name" = Option<String>, Query, description = "Only dead letters of this task type"),
        ("queue" = Option<String>, Query, description = "Only dead letters of this queue, by name or alias"),
        ("reason" = Option<String>, Query, description = "Only dead letters with this reason: `exhausted`, `failed`, `timeout` or `crash_loop`"),
        ("before" = Option<DateTime<Utc>>, Query, description = "Only dead letters whose `updated_at` is before this time"),
        ("limit" = Option<i64>, Query, description = "1 to 1,000; default 50", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; requires the same filter"),
    ),
    responses((status = 200, body = TaskPage, description = "One page"), QueryProblems),
)]
pub async fn list_dead_letters(
    State(db): State<Db>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<TaskPage>, ApiError> {
    let mut filter = Filter {
        task_name: query.take("task_name", |text| Ok::<_, String>(text.to_owned())),
        queues: None,
        reason: query.take("reason", read_reason),
        before: query.take("before", stored_time_of),
    };
    let queue = query.take("queue", read_queue);
    let limit = query.take("limit", read_limit).unwrap_or(LIMIT);
    let cursor = query.take("cursor", |text| Ok::<_, String>(text.to_owned()));
    query.finish()?;
    filter.queues = caller.visible(queue)?;
    // with the caller's queues: a cursor cannot be used by a caller who may see others
    let name = format!("dead letters {filter:?}");
    let below = read_cursor(cursor, &name)?;
    let page = dead_letters::list(&db, &filter, below, limit).await?;
    let tasks = page.tasks.into_iter().map(view::task).collect::<Result<_, _>>()?;
    let next_cursor = page.next.map(|id| cursor::encode(id, &name));
    Ok(Json(TaskPage { tasks, next_cursor }))
}
