//! The state of a worker as its health and metrics show it.

use std::sync::Arc;
use std::time::Duration;

use tasker_platform::circuit_breaker::State;
use tasker_queue::{ServerCheck, ServerReport};
use tokio_util::task::TaskTracker;

use crate::in_flight::InFlight;
use crate::readiness::Readiness;
use crate::settings::Settings;
use crate::stops::Stops;

/// Reads the state of a worker. Clones read the same one.
#[derive(Debug, Clone)]
pub struct Monitor {
    pub(crate) settings: Arc<Settings>,
    pub(crate) stops: Stops,
    pub(crate) readiness: Readiness,
    pub(crate) redis_check: Arc<ServerCheck>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) runs: TaskTracker,
}

impl Monitor {
    /// Returns the settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns true if the worker claims tasks.
    pub fn is_ready(&self) -> bool {
        // with all slots taken the last pop or claim is as old as the tasks that run
        let saturated = self.in_flight() >= self.settings.pool_size as usize;
        // false from the moment that the worker is quiet or stops
        let claims = !self.is_quiet();
        claims && self.postgres_is_available() && (self.readiness.activity.is_recent() || saturated)
    }

    /// Returns true if the worker claims no more.
    pub fn is_quiet(&self) -> bool {
        self.stops.no_more_claims.is_cancelled()
    }

    /// Returns true if the worker is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stops.shutdown.soft().is_cancelled()
    }

    /// Returns the number of in-flight runs, with those whose completions wait to be written.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Returns the number of runs that have not handed in their completions.
    pub fn unfinished(&self) -> usize {
        self.runs.len()
    }

    /// Returns the number of queues that are not claimed from because they are paused.
    pub fn paused_queues(&self) -> usize {
        self.readiness.paused.count()
    }

    /// Returns the time since the worker began.
    pub fn uptime(&self) -> Duration {
        self.readiness.activity.uptime()
    }

    /// Returns true if Postgres is available.
    pub fn postgres_is_available(&self) -> bool {
        self.readiness.postgres.is_available()
    }

    /// Returns true if Redis is available.
    pub fn redis_is_available(&self) -> bool {
        self.readiness.redis.is_available()
    }

    /// Returns the last check of the version and settings of Redis.
    pub fn redis_report(&self) -> ServerReport {
        self.redis_check.report()
    }

    /// Returns the state of the circuit breaker around Postgres and updates its metric.
    pub fn postgres_breaker(&self) -> State {
        self.readiness.postgres.breaker()
    }

    /// Returns the state of the circuit breaker around Redis and updates its metric.
    pub fn redis_breaker(&self) -> State {
        self.readiness.redis.breaker()
    }
}
