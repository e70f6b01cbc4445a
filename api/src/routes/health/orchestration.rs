//! `GET /health/orchestration`.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tasker_maintenance::{DutyRuns, DutyStatus};
use tasker_store::orchestration::{Overview, Pool, overview};
use utoipa::ToSchema;

use super::probes::{Breakers, PARTITION_DAYS_MIN, breakers, days_ahead, postgres};
use crate::state::parts::{Duties, HealthChecks};

/// The state of the maintenance duties.
#[derive(Debug, Serialize, ToSchema)]
pub struct Orchestration {
    /// `ok`; `degraded` if no server leads, the last run of a duty failed, partitions run short or many
    /// workers die; `unavailable` while Postgres is unavailable.
    pub status: &'static str,
    /// The duties of this server.
    pub coordinator: Coordinator,
    /// The leader; null while Postgres is unavailable.
    pub leader: Option<Leader>,
    /// The workers of each queue; empty while Postgres is unavailable.
    pub executor_pools: BTreeMap<String, ExecutorPool>,
    /// True if many workers died recently, so that crashes are not attributed to tasks; null while Postgres
    /// is unavailable.
    pub fleet_unhealthy: Option<bool>,
    /// The number of whole days with partitions, from today on; null while Postgres is unavailable.
    pub partition_days_ahead: Option<i64>,
    /// The circuit breakers of this server.
    pub breakers: Breakers,
}

/// The duties of this server.
#[derive(Debug, Serialize, ToSchema)]
pub struct Coordinator {
    /// True until the server begins to stop.
    pub running: bool,
    /// True if this server is the leader and runs the duties of the leader.
    pub leads: bool,
    /// Seconds since it became the leader; null if it is not.
    pub leads_seconds: Option<f64>,
    /// Seconds since the start of this server.
    pub uptime_seconds: u64,
    /// Seconds since it last rebuilt a list; null if it never did.
    pub last_rebuild_seconds_ago: Option<f64>,
    /// The last run of each current duty, by name.
    pub duties: BTreeMap<&'static str, Duty>,
}

/// The last run of a duty.
#[derive(Debug, Serialize, ToSchema)]
pub struct Duty {
    /// The result of the last run: `ok` or `failed`.
    pub outcome: &'static str,
    /// Seconds since the end of the last run.
    pub ended_seconds_ago: f64,
    /// The duration of the last run in seconds.
    pub took_seconds: f64,
    /// The number of runs.
    pub passes: u64,
    /// The number of failed runs.
    pub failures: u64,
}

/// The lease of the leader.
#[derive(Debug, Serialize, ToSchema)]
pub struct Leader {
    /// The server that holds it; null without a leader.
    pub holder: Option<String>,
    /// The term, which increases with every change of holder.
    pub term: i64,
    /// Seconds until it expires unless renewed.
    pub lease_seconds: Option<f64>,
}

/// The workers that serve a queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExecutorPool {
    /// The number of live workers.
    pub healthy: i64,
    /// The number of workers that are unresponsive or died recently.
    pub unhealthy: i64,
    /// Completions per second in the last minute; null while unknown.
    pub throughput: Option<f64>,
}

/// Get the state of the maintenance duties
///
/// The leader, the last run of each duty of this server and the workers of each queue. Always responds with
/// 200; `status` has the result.
#[utoipa::path(get, path = "/health/orchestration", tag = "health",
    responses((status = 200, body = Orchestration, description = "The duties, the leader and the workers")))]
pub async fn orchestration(
    State(checks): State<HealthChecks>,
    State(duties): State<Duties>,
) -> Json<Orchestration> {
    let timeout = duties.worker_timeout.as_secs_f64();
    let queues = duties.queues.snapshot();
    let (overview, partition_days_ahead) = tokio::join!(
        postgres(&checks, overview(&checks.db, &queues, timeout)),
        days_ahead(&checks),
    );
    let coordinator = coordinator(&checks, &duties.status, Instant::now());
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
        breakers: breakers(&checks),
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
    // the row of the lease stays when its holder dies, until another server takes it over
    let led = leader.holder.is_some() && leader.lease_seconds.is_some_and(|seconds| seconds > 0.0);
    let well = coordinator.duties.values().all(|duty| duty.outcome == "ok");
    if led && well && !fleet_unhealthy && days >= PARTITION_DAYS_MIN {
        "ok"
    } else {
        "degraded"
    }
}

fn coordinator(checks: &HealthChecks, status: &DutyStatus, now: Instant) -> Coordinator {
    let ago = |then: Instant| now.saturating_duration_since(then).as_secs_f64();
    let leads_since = status.leads_since();
    let duties = status.runs().into_iter();
    Coordinator {
        running: !checks.shutdown.soft().is_cancelled(),
        leads: leads_since.is_some(),
        leads_seconds: leads_since.map(ago),
        uptime_seconds: checks.started.elapsed().as_secs(),
        last_rebuild_seconds_ago: status.rebuilt().map(ago),
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
