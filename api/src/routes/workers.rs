//! `GET /workers`

use axum::Json;
use axum::extract::State;
use tasker_shared::store::workers::{self, WorkerRecord};
use tasker_shared::wire::{Worker, Workers};

use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::QueryProblems;
use crate::state::AppState;

/// The workers, newest first
#[utoipa::path(
    get,
    path = "/workers",
    tag = "workers",
    responses((status = 200, body = Workers, description = "One entry a worker"), QueryProblems),
)]
pub async fn list_workers(State(state): State<AppState>, _: NoQuery) -> Result<Json<Workers>, ApiError> {
    let records = workers::list(&state.db, state.worker_timeout.as_secs_f64()).await?;
    Ok(Json(Workers {
        workers: records.into_iter().map(shown).collect(),
    }))
}

fn shown(record: WorkerRecord) -> Worker {
    Worker {
        id: record.id,
        hostname: record.hostname,
        queues: record.queues,
        pool_size: record.pool_size,
        active: record.active,
        version: record.version,
        started_at: record.started_at,
        last_heartbeat: record.last_heartbeat,
        status: record.status,
    }
}
