//! `GET /health`, `/health/live`, `/health/ready` and `/health/detailed`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tasker_store::{migrations, recover};
use utoipa::ToSchema;

use super::probes::{
    Breakers, PARTITION_DAYS_MIN, PostgresState, RedisState, breakers, days_ahead, postgres, postgres_state,
    redis, schema_version,
};
use crate::state::parts::HealthChecks;

/// The health of the server.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`; `degraded` while Postgres or Redis is unavailable; `unavailable` where the server is not ready.
    pub status: &'static str,
    /// `ok`, `read_only` while it rejects writes, or `unavailable`.
    pub postgres: &'static str,
    /// `ok`, `degraded` while it is unavailable or not supported, or `off` in `PollingOnly`.
    pub redis: &'static str,
    /// Details of states other than `ok`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Settings that work but should be changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The liveness of the process.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// Always `ok`.
    pub status: &'static str,
}

/// The detailed health of the server.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetailedHealth {
    /// The fields of `GET /health`.
    #[serde(flatten)]
    pub health: Health,
    /// The circuit breakers.
    pub breakers: Breakers,
    /// True if many workers died recently, so that crashes are not attributed to tasks; null while Postgres
    /// is unavailable.
    pub fleet_unhealthy: Option<bool>,
    /// The version of this server.
    pub version: &'static str,
    /// Seconds since the start of this server.
    pub uptime_seconds: u64,
    /// The number of open connections to Postgres.
    pub pool_size: u32,
    /// The number of idle ones among them.
    pub pool_idle: usize,
    /// The version of the newest migration in the database; null while Postgres is unavailable.
    pub schema_version: Option<i64>,
    /// The minimum schema version of this server.
    pub schema_version_wanted: i64,
    /// The number of whole days with partitions, from today on; null while Postgres is unavailable.
    pub partition_days_ahead: Option<i64>,
}

/// Check the server
///
/// Always responds with 200; `status` has the result.
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, body = Health, description = "The state of the server and its dependencies")))]
pub async fn health(State(checks): State<HealthChecks>) -> Json<Health> {
    let (postgres, redis) = tokio::join!(postgres_state(&checks), redis(&checks));
    Json(judged(postgres, redis))
}

/// Check that the process is alive
#[utoipa::path(get, path = "/health/live", tag = "health",
    responses((status = 200, body = Alive, description = "The process is alive")))]
pub async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Check that the server is ready
///
/// Ready means that Postgres accepts writes, the schema version fits and partitions exist for the next days.
/// An outage of Redis is reported as `degraded` and does not affect readiness.
#[utoipa::path(get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, body = Health, description = "Ready"),
        (status = 503, body = Health, description = "Not ready"),
    ))]
pub async fn ready(State(checks): State<HealthChecks>) -> (StatusCode, Json<Health>) {
    // at once, so that the whole check takes no longer than its slowest part
    let (postgres, schema, days, redis) = tokio::join!(
        postgres_state(&checks),
        schema_version(&checks),
        days_ahead(&checks),
        redis(&checks)
    );
    let is_ready = postgres == PostgresState::Ok
        && schema.is_some_and(|version| version >= migrations::wanted_version())
        && days.is_some_and(|days| days >= PARTITION_DAYS_MIN);
    // probes over open connections see that the server is shutting down
    let stopping = checks.shutdown.soft().is_cancelled();
    let mut health = judged(postgres, redis);
    if is_ready && !stopping {
        return (StatusCode::OK, Json(health));
    }
    health.status = "unavailable";
    (StatusCode::SERVICE_UNAVAILABLE, Json(health))
}

/// Get the detailed health of the server
#[utoipa::path(get, path = "/health/detailed", tag = "health",
    responses((status = 200, body = DetailedHealth, description = "Health, circuit breakers, versions and connections")))]
pub async fn detailed(State(checks): State<HealthChecks>) -> Json<DetailedHealth> {
    let (postgres_state, schema_version, partition_days_ahead, fleet_unhealthy, redis) = tokio::join!(
        postgres_state(&checks),
        schema_version(&checks),
        days_ahead(&checks),
        postgres(&checks, recover::fleet_is_unhealthy(&checks.db)),
        redis(&checks)
    );
    Json(DetailedHealth {
        health: judged(postgres_state, redis),
        breakers: breakers(&checks),
        fleet_unhealthy,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: checks.started.elapsed().as_secs(),
        pool_size: checks.db.pool().size(),
        pool_idle: checks.db.pool().num_idle(),
        schema_version,
        schema_version_wanted: migrations::wanted_version(),
        partition_days_ahead,
    })
}

fn judged(postgres: PostgresState, redis: RedisState) -> Health {
    let mut causes = Vec::new();
    if postgres == PostgresState::ReadOnly {
        causes
            .push("Postgres rejects writes: it is a standby or has default_transaction_read_only".to_owned());
    }
    causes.extend(redis.report.unsupported);
    let all_well = postgres == PostgresState::Ok && redis.word != "degraded";
    Health {
        status: if all_well { "ok" } else { "degraded" },
        postgres: match postgres {
            PostgresState::Ok => "ok",
            PostgresState::ReadOnly => "read_only",
            PostgresState::Unavailable => "unavailable",
        },
        redis: redis.word,
        causes,
        warnings: redis.report.warning.into_iter().collect(),
    }
}
