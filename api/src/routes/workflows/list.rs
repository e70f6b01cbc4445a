//! `GET /v1/workflows`

use axum::Json;
use axum::extract::State;
use tasker_core::task::TaskId;
use tasker_store::workflows::{self, Filter};
use tasker_wire::Workflows;
use tasker_workflow::states::WorkflowState;

use super::view;
use crate::auth::Caller;
use crate::cursor;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::query::Query;
use crate::http::values::stored_time_of;
use crate::openapi::problem_groups::QueryProblems;
use crate::routes::params::{LIMIT, read_cursor, read_limit};

/// List workflows, newest first
#[utoipa::path(
    get,
    path = "/v1/workflows",
    tag = "workflows",
    params(
        ("status" = Option<String>, Query, description = "Only workflows in this stored state"),
        ("namespace" = Option<String>, Query, description = "Only workflows of this namespace"),
        ("name" = Option<String>, Query, description = "Only workflows of this name"),
        ("tag" = Option<String>, Query, description = "Only workflows with this tag"),
        ("created_after" = Option<DateTime<Utc>>, Query, description = "Started at this time or later"),
        ("created_before" = Option<DateTime<Utc>>, Query, description = "Started before this time"),
        ("limit" = Option<i64>, Query, description = "1 to 1,000; default 50", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; requires the same filter"),
    ),
    responses((status = 200, body = Workflows, description = "One page"), QueryProblems),
)]
pub async fn list_workflows(
    State(db): State<Db>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Workflows>, ApiError> {
    let text = |text: &str| Ok::<_, String>(text.to_owned());
    let mut filter = Filter {
        status: query.take("status", read_status),
        namespace: query.take("namespace", text),
        name: query.take("name", text),
        tag: query.take("tag", text),
        created_after: query.take("created_after", stored_time_of),
        created_before: query.take("created_before", stored_time_of),
        queues: None,
    };
    let limit = query.take("limit", read_limit).unwrap_or(LIMIT);
    let cursor = query.take("cursor", text);
    query.finish()?;
    filter.queues = caller.visible(None)?;
    // with the caller's queues: a cursor cannot be used by a caller who may see others
    let name = format!("{filter:?}");
    let below = read_cursor(cursor, &name)?.unwrap_or(TaskId::MAX);
    let found = workflows::list(&db, &filter, below, limit).await?;
    let full = i64::try_from(found.len()) == Ok(limit);
    let next_cursor = found
        .last()
        .filter(|_| full)
        .map(|last| cursor::encode(last.id, &name));
    Ok(Json(Workflows {
        workflows: found.into_iter().map(view::summary).collect(),
        next_cursor,
    }))
}

fn read_status(text: &str) -> Result<String, String> {
    let is_stored = |name: &&str| name.parse().is_ok_and(WorkflowState::is_stored);
    let stored: Vec<&str> = WorkflowState::NAMES.iter().copied().filter(is_stored).collect();
    if stored.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("must be one of {}", stored.join(", ")))
}
