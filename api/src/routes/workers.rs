//! `GET /workers`

use axum::Json;
use axum::extract::State;
use tasker_store::workers::{self, WorkerRecord};
use tasker_wire::{Worker, Workers};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::QueryProblems;
use crate::state::parts::Fleet;

/// List the workers, newest first
#[utoipa::path(
    get,
    path = "/workers",
    tag = "workers",
    responses((status = 200, body = Workers, description = "One entry per worker"), QueryProblems),
)]
pub async fn list_workers(
    State(fleet): State<Fleet>,
    caller: Caller,
    _: NoQuery,
) -> Result<Json<Workers>, ApiError> {
    let records = workers::list(&fleet.db, fleet.worker_timeout.as_secs_f64()).await?;
    Ok(Json(Workers {
        workers: records
            .into_iter()
            .filter(|record| serves(record, &caller))
            .map(shown)
            .collect(),
    }))
}

/// Returns true if a worker serves a queue that the caller may see.
fn serves(record: &WorkerRecord, caller: &Caller) -> bool {
    caller.queues().is_none_or(|queues| {
        queues
            .iter()
            .any(|queue| record.queues.iter().any(|name| name == queue.as_str()))
    })
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
