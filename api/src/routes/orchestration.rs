//! `GET /health/orchestration`.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tasker_shared::store::orchestration::{Overview, Pool, overview};
use tasker_shared::store::partitions;
use utoipa::ToSchema;

use super::health::{Breakers, PARTITION_DAYS_MIN, breakers, postgres};
use crate::orchestrator::DutyRuns;
use crate::state::AppState;

/// How the maintenance is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Orchestration {
    /// `ok`; `degraded` if nobody leads, the last pass of a duty failed, partitions run short or workers die in numbers;
    /// `unavailable` while Postgres is away.
    pub status: &'static str,
    /// The duties of this server.
    pub coordinator: Coordinator,
    /// The leader of the fleet; null while Postgres is away.
    pub leader: Option<Leader>,
    /// The workers of each queue; empty while Postgres is away.
    pub executor_pools: BTreeMap<String, ExecutorPool>,
    /// Whether so many workers died lately that their deaths accuse no task; null while Postgres is away.
    pub fleet_unhealthy: Option<bool>,
    /// Whole days for which there are partitions, from today on; null while Postgres is away.
    pub partition_days_ahead: Option<i64>,
    /// The circuit breakers of this server.
    pub breakers: Breakers,
}

/// The duties of this server.
#[derive(Debug, Serialize, ToSchema)]
pub struct Coordinator {
    /// Whether it carries duties out: not any more once it stops.
    pub running: bool,
    /// Whether it leads, so that the duties of the leader are its own.
    pub leads: bool,
    /// For how many seconds it has led.
    pub leads_seconds: Option<f64>,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Seconds since it last made a list anew; null if it never did.
    pub last_rebuild_seconds_ago: Option<f64>,
    /// What each duty did last that this server has now, by its name.
    pub duties: BTreeMap<&'static str, Duty>,
}

/// What a duty did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Duty {
    /// `ok` or `failed`: how the last pass ended.
    pub outcome: &'static str,
    /// How many seconds ago.
    pub ended_seconds_ago: f64,
    /// How many seconds it took.
    pub took_seconds: f64,
    /// Passes in all.
    pub passes: u64,
    /// Those of them that failed.
    pub failures: u64,
}

/// The lease of the leader.
#[derive(Debug, Serialize, ToSchema)]
pub struct Leader {
    /// Who holds it; null if nobody does.
    pub holder: Option<String>,
    /// Rises with every change of holder.
    pub term: i64,
    /// Seconds until it runs out unless it is prolonged.
    pub lease_seconds: Option<f64>,
}

/// The workers that serve a queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExecutorPool {
    /// Those that live.
    pub healthy: i64,
    /// Those that are silent, or died lately.
    pub unhealthy: i64,
    /// Runs that ended per second in the last minute; null while that is not known.
    pub throughput: Option<f64>,
}

/// How the maintenance is
///
/// Who leads, when each duty of this server last ran and how that ended, and the workers of each queue. Answers 200 as long as
/// the server answers at all; `status` says how things are.
#[utoipa::path(get, path = "/health/orchestration", tag = "health",
    responses((status = 200, body = Orchestration, description = "The duties, the leader, the workers")))]
pub async fn orchestration(State(state): State<AppState>) -> Json<Orchestration> {
    let timeout = state.worker_timeout.as_secs_f64();
    let queues = state.queues.snapshot();
    let (overview, partition_days_ahead) = tokio::join!(
        postgres(&state, overview(&state.db, &queues, timeout)),
        postgres(&state, partitions::days_ahead(&state.db)),
    );
    let coordinator = coordinator(&state, Instant::now());
    let fleet_unhealthy = overview.as_ref().map(|overview| overview.fleet_unhealthy);
    let leader = overview.as_ref().map(leader);
    let pools = overview.map(|overview| overview.pools).unwrap_or_default();
    Json(Orchestration {
        status: judged(
            &coordinator,
            leader.as_ref(),
            fleet_unhealthy,
            partition_days_ahead,
        ),
        coordinator,
        leader,
        executor_pools: pools.iter().map(pool).collect(),
        fleet_unhealthy,
        partition_days_ahead,
        breakers: breakers(&state),
    })
}

fn judged(
    coordinator: &Coordinator,
    leader: Option<&Leader>,
    fleet_unhealthy: Option<bool>,
    days: Option<i64>,
) -> &'static str {
    let (Some(leader), Some(fleet_unhealthy), Some(days)) = (leader, fleet_unhealthy, days) else {
        return "unavailable";
    };
    let led = leader.holder.is_some() && leader.lease_seconds.is_some_and(|seconds| seconds > 0.0);
    let well = coordinator.duties.values().all(|duty| duty.outcome == "ok");
    if led && well && !fleet_unhealthy && days >= PARTITION_DAYS_MIN {
        "ok"
    } else {
        "degraded"
    }
}

fn coordinator(state: &AppState, now: Instant) -> Coordinator {
    let ago = |then: Instant| now.saturating_duration_since(then).as_secs_f64();
    let leads_since = state.duty_status.leads_since();
    let duties = state.duty_status.runs().into_iter();
    Coordinator {
        running: !state.shutdown.soft().is_cancelled(),
        leads: leads_since.is_some(),
        leads_seconds: leads_since.map(ago),
        uptime_seconds: state.started.elapsed().as_secs(),
        last_rebuild_seconds_ago: state.duty_status.rebuilt().map(ago),
        duties: duties
            .map(|(name, passes)| (name, duty(&passes, ago(passes.ended))))
            .collect(),
    }
}

fn duty(passes: &DutyRuns, ended_seconds_ago: f64) -> Duty {
    Duty {
        outcome: if passes.failed { "failed" } else { "ok" },
        ended_seconds_ago,
        took_seconds: passes.took.as_secs_f64(),
        passes: passes.count,
        failures: passes.failures,
    }
}

fn leader(overview: &Overview) -> Leader {
    Leader {
        holder: overview.holder.clone(),
        term: overview.term,
        lease_seconds: overview.lease_seconds,
    }
}

fn pool(pool: &Pool) -> (String, ExecutorPool) {
    let executor = ExecutorPool {
        healthy: pool.healthy,
        unhealthy: pool.unhealthy,
        throughput: pool.throughput,
    };
    (pool.queue.to_string(), executor)
}
