//! `GET /queues`

use axum::Json;
use axum::extract::State;
use tasker_core::task::QueueName;
use tasker_wire::Queues;

use super::states::queues_now;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::QueryProblems;
use crate::state::parts::QueueControl;

/// List the declared queues
#[utoipa::path(
    get,
    path = "/queues",
    tag = "queues",
    responses((status = 200, body = Queues, description = "One entry per queue"), QueryProblems),
)]
pub async fn list_queues(
    State(control): State<QueueControl>,
    caller: Caller,
    _: NoQuery,
) -> Result<Json<Queues>, ApiError> {
    let declared = control.table.declared().snapshot();
    let seen: Vec<QueueName> = declared
        .iter()
        .filter(|queue| caller.may_use(queue))
        .cloned()
        .collect();
    let queues = queues_now(&control, &seen).await?;
    Ok(Json(Queues { queues }))
}
