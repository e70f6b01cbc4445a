//! `POST /queues/{name}/resume`

use axum::Json;
use axum::extract::State;
use tasker_store::{queues, retry_rolled_back};
use tasker_wire::QueueInfo;

use super::states::queue_now;
use crate::db::write_failed;
use crate::error::ApiError;
use crate::http::path::QueuePath;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::QueueProblems;
use crate::state::parts::QueueControl;

/// Resume a queue
///
/// Workers claim from it again within a second. Idempotent.
#[utoipa::path(
    post,
    path = "/queues/{name}/resume",
    tag = "queues",
    params(("name" = String, Path, description = "The queue, by name or alias")),
    responses((status = 200, body = QueueInfo, description = "The resumed queue"), QueueProblems),
)]
pub async fn resume_queue(
    State(control): State<QueueControl>,
    QueuePath(name): QueuePath,
    _: NoQuery,
) -> Result<Json<QueueInfo>, ApiError> {
    retry_rolled_back(|| queues::resume(&control.db, &name))
        .await
        .map_err(write_failed)?;
    metrics::counter!("tasker_operator_actions_total", "action" => "resume").increment(1);
    queue_now(&control, name).await.map(Json)
}
