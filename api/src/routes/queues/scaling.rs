//! `GET /queues/{name}/scaling`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tasker_core::duration;
use tasker_core::task::limits;
use tasker_maintenance::scaling::{TARGET_LATENCY, advise, advise_for_types};
use tasker_store::scaling::{self, QueueFacts, TypesFacts};
use tasker_wire::QueueScaling;

use super::states::depths;
use crate::error::ApiError;
use crate::http::path::QueuePath;
use crate::http::query::Query;
use crate::openapi::problem_groups::{QueryProblems, QueueProblems};
use crate::state::parts::QueueControl;

/// The valid range of the target latency.
const TARGETS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);

/// The maximum number of types in a request.
const TYPES_MAX: usize = 100;

/// Suggest the number of workers of a queue
///
/// Rates are those of the last minute, sampled every 10 s. The suggested number of workers, of the same size
/// as the present ones, is at most 80 % busy with arriving tasks and starts the waiting ones within the
/// target latency.
///
/// Tasks of types that no live worker of the queue registers are not counted, since more of the present
/// workers could not run them. Workers that register only some types scale on `types`, which counts all
/// pending tasks of these types.
#[utoipa::path(
    get,
    path = "/queues/{name}/scaling",
    tag = "queues",
    params(
        ("name" = String, Path, description = "The queue, by name or alias"),
        ("target_latency" = Option<String>, Query,
            description = "The maximum time that a task should wait, such as `30s` or `5m`; 100ms to 24h, default 30s"),
        ("types" = Option<String>, Query,
            description = "Only tasks of these types, separated by commas; at most 100. Default: all types"),
    ),
    responses((status = 200, body = QueueScaling, description = "The measured rates and the suggestion"), QueueProblems, QueryProblems),
)]
pub async fn queue_scaling(
    State(control): State<QueueControl>,
    QueuePath(name): QueuePath,
    mut query: Query,
) -> Result<Json<QueueScaling>, ApiError> {
    let target = query
        .take("target_latency", read_target)
        .unwrap_or(TARGET_LATENCY);
    let types = query.take("types", read_types);
    query.finish()?;
    let names = [name];
    let timeout = control.worker_timeout.as_secs_f64();
    let facts = scaling::facts(&control.db, &names, timeout).await?;
    let mut facts = facts
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::Internal("a requested queue is missing from the result".to_owned()))?;
    let (backlog, advice) = if let Some(types) = &types {
        let of_types = scaling::facts_of_types(&control.db, &facts.name, types, timeout).await?;
        narrow(&mut facts, &of_types);
        let backlog = of_types.pending;
        (backlog, advise_for_types(&facts, backlog, target))
    } else {
        // rows are counted up to a limit; the length of the list is exact beyond it
        let depth = depths(&control, &names).await;
        let depth = depth.and_then(|depths| i64::try_from(*depths.first()?).ok());
        let backlog = facts.backlog(depth);
        (backlog, advise(&facts, backlog, target))
    };
    Ok(Json(QueueScaling {
        backlog,
        types,
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

/// Replaces the facts of the queue by those of some task types.
fn narrow(facts: &mut QueueFacts, of_types: &TypesFacts) {
    facts.oldest_age_seconds = of_types.oldest_age_seconds;
    facts.running = of_types.running;
    facts.workers = of_types.workers;
    facts.slots = of_types.slots;
}

fn read_types(text: &str) -> Result<Vec<String>, String> {
    let types: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if types.len() > TYPES_MAX {
        return Err(format!("must be at most {TYPES_MAX} task types"));
    }
    let is_name = |name: &String| (1..=limits::TASK_NAME_CHARS).contains(&name.chars().count());
    if !types.iter().all(is_name) {
        return Err("must be task types separated by commas, such as `mail,report`".to_owned());
    }
    Ok(types)
}

fn read_target(text: &str) -> Result<Duration, String> {
    let target = duration::parse(text).map_err(|error| error.to_string())?;
    if TARGETS.contains(&target) {
        return Ok(target);
    }
    Err("must be from 100ms to 24h".to_owned())
}
