//! The probes behind the health checks.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use tasker_queue::ServerReport;
use tasker_store::{self as store, migrations, partitions};
use utoipa::ToSchema;

use crate::state::parts::HealthChecks;

/// The time within which Postgres and Redis have to answer a health check.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The minimum number of days with partitions ahead. Without a partition for today no run could be completed.
pub(super) const PARTITION_DAYS_MIN: i64 = 3;

/// The checked state of Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostgresState {
    Ok,
    ReadOnly,
    Unavailable,
}

/// The checked state of Redis.
#[derive(Debug)]
pub(super) struct RedisState {
    pub(super) word: &'static str,
    pub(super) report: ServerReport,
}

/// The states of the circuit breakers: `closed`, `open` or `half_open`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Breakers {
    /// The circuit breaker of Postgres.
    pub postgres: &'static str,
    /// The circuit breaker of Redis; `off` in `PollingOnly`.
    pub redis: &'static str,
}

/// Checks Postgres.
pub(super) async fn postgres_state(checks: &HealthChecks) -> PostgresState {
    if let Some(takes_writes) = postgres(checks, store::connection_takes_writes(&checks.db)).await {
        checks.postgres.takes_writes(takes_writes);
        return if takes_writes {
            PostgresState::Ok
        } else {
            PostgresState::ReadOnly
        };
    }
    // the breaker opens for a read-only Postgres too, which must not be reported as unavailable
    if checks.postgres.is_read_only() {
        PostgresState::ReadOnly
    } else {
        PostgresState::Unavailable
    }
}

/// Checks Redis.
pub(super) async fn redis(checks: &HealthChecks) -> RedisState {
    let Some(redis) = &checks.redis else {
        return RedisState {
            word: "off",
            report: ServerReport::default(),
        };
    };
    // no probe while the breaker is open: the breaker's own probes decide when Redis is back
    let answers = redis.breaker().is_closed() && within(redis.queue().is_up()).await.is_some();
    let report = redis.check().report();
    let well = answers && report.unsupported.is_none();
    RedisState {
        word: if well { "ok" } else { "degraded" },
        report,
    }
}

/// Returns the states of the circuit breakers.
pub(super) fn breakers(checks: &HealthChecks) -> Breakers {
    let redis = checks.redis.as_ref();
    Breakers {
        postgres: checks.postgres.breaker().state().as_str(),
        redis: redis.map_or("off", |redis| redis.breaker().state().as_str()),
    }
}

/// Returns the result of a statement, or `None` if it fails or exceeds the time limit. No statement is sent
/// while the breaker is open: the server rejects requests then anyway.
pub(super) async fn postgres<T>(
    checks: &HealthChecks,
    statement: impl Future<Output = store::Result<T>>,
) -> Option<T> {
    if !checks.postgres.breaker().is_closed() {
        return None;
    }
    within(statement).await
}

/// Returns the version of the newest migration in the database; `None` if it cannot be read.
pub(super) async fn schema_version(checks: &HealthChecks) -> Option<i64> {
    postgres(checks, migrations::current_version(&checks.db)).await
}

/// Returns the number of whole days with partitions, from today on; `None` if it cannot be read.
pub(super) async fn days_ahead(checks: &HealthChecks) -> Option<i64> {
    postgres(checks, partitions::days_ahead(&checks.db)).await
}

/// Returns the result of a check, or `None` if it fails or exceeds the time limit.
async fn within<T, E>(probe: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(PROBE_TIMEOUT, probe).await.ok()?.ok()
}
