//! `GET /queues`

use axum::Json;
use axum::extract::State;
use tasker_shared::store::queues;
use tasker_shared::task::QueueName;
use tasker_shared::wire::{QueueInfo, Queues};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::QueryProblems;
use crate::state::AppState;

/// The declared queues
#[utoipa::path(
    get,
    path = "/queues",
    tag = "queues",
    responses((status = 200, body = Queues, description = "One entry a queue"), QueryProblems),
)]
pub async fn list_queues(
    State(state): State<AppState>,
    caller: Caller,
    _: NoQuery,
) -> Result<Json<Queues>, ApiError> {
    let declared = state.queues.snapshot();
    let seen: Vec<QueueName> = declared
        .iter()
        .filter(|queue| caller.may_use(queue))
        .cloned()
        .collect();
    let queues = queues_now(&state, &seen).await?;
    Ok(Json(Queues { queues }))
}

/// One declared queue as it is now.
pub(super) async fn queue_now(state: &AppState, name: QueueName) -> Result<QueueInfo, ApiError> {
    let queues = queues_now(state, &[name]).await?;
    let queue = queues.into_iter().next();
    queue.ok_or_else(|| ApiError::Internal("a queue that was asked for was not answered".to_owned()))
}

async fn queues_now(state: &AppState, names: &[QueueName]) -> Result<Vec<QueueInfo>, ApiError> {
    let timeout = state.worker_timeout.as_secs_f64();
    let (states, depths) = tokio::join!(queues::states(&state.db, names, timeout), depths(state, names));
    let queues = states?.into_iter().enumerate().map(|(place, queue)| QueueInfo {
        key: state.queue.keys().list(&queue.name),
        depth: depths.as_ref().and_then(|depths| depths.get(place)).copied(),
        pending: queue.pending,
        running: queue.running,
        oldest_age_seconds: queue.oldest_age_seconds,
        paused: queue.paused,
        workers: queue.workers,
        name: queue.name,
    });
    Ok(queues.collect())
}

/// The lengths of the lists; nothing while Redis is away, or where there is none.
pub(super) async fn depths(state: &AppState, names: &[QueueName]) -> Option<Vec<u64>> {
    if !state.mode.uses_redis() {
        return None;
    }
    state.redis.ask(async |queue| queue.depths(names).await).await
}
