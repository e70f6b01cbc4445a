//! `GET /queues/{name}/scaling`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tasker_shared::config::duration;
use tasker_shared::store::scaling;
use tasker_shared::wire::QueueScaling;

use super::queues::depths;
use crate::error::ApiError;
use crate::http::path::QueuePath;
use crate::http::query::Query;
use crate::openapi::{QueryProblems, QueueProblems};
use crate::scaling::{TARGET_LATENCY, advise};
use crate::state::AppState;

/// The shortest and the longest target.
const TARGETS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);

/// How many workers a queue needs
///
/// Rates are those of the last minute, measured each 10 s and up to 10 s late. The suggestion keeps workers that are like the
/// present ones at most four fifths busy with what comes, and has what waits begin within the target.
#[utoipa::path(
    get,
    path = "/queues/{name}/scaling",
    tag = "queues",
    params(
        ("name" = String, Path, description = "The queue, by name or alias"),
        ("target_latency" = Option<String>, Query,
            description = "How long a task may wait at most, such as `30s` or `5m`; 100ms to 24h, 30s if left out"),
    ),
    responses((status = 200, body = QueueScaling, description = "The advice"), QueueProblems, QueryProblems),
)]
pub async fn queue_scaling(
    State(state): State<AppState>,
    QueuePath(name): QueuePath,
    mut query: Query,
) -> Result<Json<QueueScaling>, ApiError> {
    let target = query
        .take("target_latency", read_target)
        .unwrap_or(TARGET_LATENCY);
    query.finish()?;
    let names = [name];
    let depth = depths(&state, &names)
        .await
        .and_then(|depths| depths.first().copied());
    let timeout = state.worker_timeout.as_secs_f64();
    let facts = scaling::facts(&state.db, &names, depth.is_none(), timeout).await?;
    let facts = facts
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::Internal("a queue that was asked for was not answered".to_owned()))?;
    let backlog = depth.and_then(|depth| i64::try_from(depth).ok());
    let backlog = backlog.or(facts.pending).unwrap_or_default();
    let advice = advise(&facts, backlog, target);
    Ok(Json(QueueScaling {
        backlog,
        oldest_age_seconds: facts.oldest_age_seconds,
        running: facts.running,
        paused: facts.paused,
        workers: facts.workers,
        slots: facts.slots,
        window_seconds: advice.rates.map(|rates| rates.window_seconds),
        arrival_rate: advice.rates.map(|rates| rates.arrival),
        drain_rate: advice.rates.map(|rates| rates.drain),
        time_to_drain_seconds: advice.time_to_drain_seconds,
        slot_seconds: advice.slot_seconds,
        target_latency_seconds: target.as_secs_f64(),
        suggested_workers: advice.suggested_workers,
        reason: advice.reason,
        name: facts.name,
    }))
}

fn read_target(text: &str) -> Result<Duration, String> {
    let target = duration::parse(text).map_err(|error| error.to_string())?;
    if TARGETS.contains(&target) {
        return Ok(target);
    }
    Err("must be from 100ms to 24h".to_owned())
}
