//! `GET /health` and its kin.

use std::future::Future;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tasker_shared::store::{self, migrations, partitions, recover};
use utoipa::ToSchema;

use crate::state::AppState;

/// How long a part may take to answer before it counts as away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Fewer days of partitions ahead than this are an alarm: without any, nothing could end.
pub(super) const PARTITION_DAYS_MIN: i64 = 3;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`; `degraded` while a part is away; `unavailable` where that makes the server useless.
    pub status: &'static str,
    /// `ok` or `unavailable`.
    pub postgres: &'static str,
    /// `ok`, `degraded` while it is away, or `off` in `PollingOnly`.
    pub redis: &'static str,
}

/// That the server is alive.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// Always `ok`.
    pub status: &'static str,
}

/// What the circuit breakers do with calls: `closed`, `open` or `half_open`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Breakers {
    /// The one around Postgres.
    pub postgres: &'static str,
    /// The one around Redis; `off` in `PollingOnly`.
    pub redis: &'static str,
}

/// How the server is, in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetailedHealth {
    /// The short form.
    #[serde(flatten)]
    pub health: Health,
    /// The circuit breakers.
    pub breakers: Breakers,
    /// Whether so many workers died lately that their deaths accuse no task; null while Postgres is away.
    pub fleet_unhealthy: Option<bool>,
    /// The version of this server.
    pub version: &'static str,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Connections to Postgres that are open.
    pub pool_size: u32,
    /// How many of them are idle.
    pub pool_idle: usize,
    /// The newest migration of the database; null while Postgres is away.
    pub schema_version: Option<i64>,
    /// The newest migration that this server needs.
    pub schema_version_wanted: i64,
    /// Whole days for which there are partitions, from today on; null while Postgres is away.
    pub partition_days_ahead: Option<i64>,
}

/// Whether the server is up
///
/// Answers 200 as long as the server answers at all.
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, body = Health, description = "It is up")))]
pub async fn health(State(state): State<AppState>) -> Json<Health> {
    let (postgres, redis) = tokio::join!(postgres(&state, store::is_up(&state.db)), redis(&state));
    Json(judged(postgres.is_some(), redis))
}

/// Whether the process is alive
#[utoipa::path(get, path = "/health/live", tag = "health",
    responses((status = 200, body = Alive, description = "It is alive")))]
pub async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether the server can do its work
///
/// Postgres answers, its schema is there, and so are partitions for the next days. Without Redis it works on, degraded.
#[utoipa::path(get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, body = Health, description = "It can"),
        (status = 503, body = Health, description = "It cannot"),
    ))]
pub async fn ready(State(state): State<AppState>) -> (StatusCode, Json<Health>) {
    let (schema, days, redis) = tokio::join!(schema_version(&state), days_ahead(&state), redis(&state));
    let sound = schema.is_some_and(|version| version >= migrations::wanted_version())
        && days.is_some_and(|days| days >= PARTITION_DAYS_MIN);
    let stopping = state.shutdown.soft().is_cancelled();
    let mut health = judged(schema.is_some(), redis);
    if sound && !stopping {
        return (StatusCode::OK, Json(health));
    }
    health.status = "unavailable";
    (StatusCode::SERVICE_UNAVAILABLE, Json(health))
}

/// How the server is, in full
#[utoipa::path(get, path = "/health/detailed", tag = "health",
    responses((status = 200, body = DetailedHealth, description = "Everything it knows of itself")))]
pub async fn detailed(State(state): State<AppState>) -> Json<DetailedHealth> {
    let (schema_version, partition_days_ahead, fleet_unhealthy, redis) = tokio::join!(
        schema_version(&state),
        days_ahead(&state),
        postgres(&state, recover::fleet_is_unhealthy(&state.db)),
        redis(&state)
    );
    Json(DetailedHealth {
        health: judged(schema_version.is_some(), redis),
        breakers: breakers(&state),
        fleet_unhealthy,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: state.started.elapsed().as_secs(),
        pool_size: state.db.size(),
        pool_idle: state.db.num_idle(),
        schema_version,
        schema_version_wanted: migrations::wanted_version(),
        partition_days_ahead,
    })
}

fn judged(postgres: bool, redis: &'static str) -> Health {
    let all_well = postgres && redis != "degraded";
    Health {
        status: if all_well { "ok" } else { "degraded" },
        postgres: if postgres { "ok" } else { "unavailable" },
        redis,
    }
}

async fn redis(state: &AppState) -> &'static str {
    if !state.mode.uses_redis() {
        return "off";
    }
    // a breaker that is open has asked before, and will again
    let well = state.redis.breaker().is_closed() && within(state.queue.is_up()).await.is_some();
    if well { "ok" } else { "degraded" }
}

pub(super) fn breakers(state: &AppState) -> Breakers {
    let redis = state.redis.breaker().state().as_str();
    Breakers {
        postgres: state.postgres.breaker().state().as_str(),
        redis: if state.mode.uses_redis() { redis } else { "off" },
    }
}

/// The answer of Postgres, if it comes in time. While the breaker is open the server turns everybody away, so there is nothing
/// to ask.
pub(super) async fn postgres<T>(
    state: &AppState,
    statement: impl Future<Output = store::Result<T>>,
) -> Option<T> {
    if !state.postgres.breaker().is_closed() {
        return None;
    }
    within(statement).await
}

async fn schema_version(state: &AppState) -> Option<i64> {
    postgres(state, migrations::current_version(&state.db)).await
}

async fn days_ahead(state: &AppState) -> Option<i64> {
    postgres(state, partitions::days_ahead(&state.db)).await
}

/// The answer of a part, if it comes in time.
async fn within<T, E>(probe: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(PROBE_TIMEOUT, probe).await.ok()?.ok()
}
