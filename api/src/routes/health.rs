//! `GET /health` and its kin.

use std::future::Future;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tasker_shared::queue::ServerReport;
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
    /// `ok`, `read_only` where it takes no writes, or `unavailable`.
    pub postgres: &'static str,
    /// `ok`, `degraded` while it does not answer or is not supported, or `off` in `PollingOnly`.
    pub redis: &'static str,
    /// Why a part is not `ok`, where there is more to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What works and should be changed all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What Postgres is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PostgresState {
    Ok,
    ReadOnly,
    Unavailable,
}

/// What Redis is found to be.
#[derive(Debug)]
struct RedisState {
    word: &'static str,
    report: ServerReport,
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
    let (postgres, redis) = tokio::join!(postgres_state(&state), redis(&state));
    Json(judged(postgres, redis))
}

/// Whether the process is alive
#[utoipa::path(get, path = "/health/live", tag = "health",
    responses((status = 200, body = Alive, description = "It is alive")))]
pub async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether the server can do its work
///
/// Postgres takes writes, its schema is there, and so are partitions for the next days. Without Redis it works on, degraded.
#[utoipa::path(get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, body = Health, description = "It can"),
        (status = 503, body = Health, description = "It cannot"),
    ))]
pub async fn ready(State(state): State<AppState>) -> (StatusCode, Json<Health>) {
    let (postgres, schema, days, redis) = tokio::join!(
        postgres_state(&state),
        schema_version(&state),
        days_ahead(&state),
        redis(&state)
    );
    let sound = postgres == PostgresState::Ok
        && schema.is_some_and(|version| version >= migrations::wanted_version())
        && days.is_some_and(|days| days >= PARTITION_DAYS_MIN);
    let stopping = state.shutdown.soft().is_cancelled();
    let mut health = judged(postgres, redis);
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
    let (postgres_state, schema_version, partition_days_ahead, fleet_unhealthy, redis) = tokio::join!(
        postgres_state(&state),
        schema_version(&state),
        days_ahead(&state),
        postgres(&state, recover::fleet_is_unhealthy(&state.db)),
        redis(&state)
    );
    Json(DetailedHealth {
        health: judged(postgres_state, redis),
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

fn judged(postgres: PostgresState, redis: RedisState) -> Health {
    let mut causes = Vec::new();
    if postgres == PostgresState::ReadOnly {
        causes.push(
            "Postgres takes no writes: it is a standby, or has default_transaction_read_only".to_owned(),
        );
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

async fn postgres_state(state: &AppState) -> PostgresState {
    if let Some(takes_writes) = postgres(state, store::connection_takes_writes(&state.db)).await {
        state.postgres.takes_writes(takes_writes);
        return if takes_writes {
            PostgresState::Ok
        } else {
            PostgresState::ReadOnly
        };
    }
    // a Postgres that takes no writes has opened the breaker
    if state.postgres.is_read_only() {
        PostgresState::ReadOnly
    } else {
        PostgresState::Unavailable
    }
}

async fn redis(state: &AppState) -> RedisState {
    if !state.mode.uses_redis() {
        return RedisState {
            word: "off",
            report: ServerReport::default(),
        };
    }
    // a breaker that is open has asked before, and will again
    let answers = state.redis.breaker().is_closed() && within(state.queue.is_up()).await.is_some();
    let report = state.redis.check().report();
    let well = answers && report.unsupported.is_none();
    RedisState {
        word: if well { "ok" } else { "degraded" },
        report,
    }
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
