//! Availability of Postgres and Redis, as of the last answer of each.
//!
//! A worker claims only while Postgres is available: any failed statement makes it unavailable, and only a
//! written heartbeat makes it available again. A failed pop makes Redis unavailable, and an answered health
//! probe makes it available again.
//!
//! This is stricter than a circuit breaker, which tolerates a few errors. A breaker is still needed for a
//! service that answers the probe and fails at work, which would otherwise alternate without end: after
//! `BREAKER_ERRORS` failures the breaker is open, and no probe makes the service available before
//! `BREAKER_COOLDOWN` is over. The first one after that is the breaker's trial.

use metrics::counter;
use tasker_platform::circuit_breaker::{Breaker, Limits, State};
use tokio::sync::watch;
use tracing::{info, warn};

/// The availability of one service, with its circuit breaker.
#[derive(Debug)]
pub(crate) struct Availability {
    service: &'static str,
    breaker: Breaker,
    available: watch::Sender<bool>,
}

impl Availability {
    /// Returns the state of Postgres, available at first.
    pub(crate) fn of_postgres(limits: Limits) -> Self {
        Self::new("Postgres", Breaker::new("postgres", limits))
    }

    /// Returns the state of Redis, available at first.
    pub(crate) fn of_redis(limits: Limits) -> Self {
        Self::new("Redis", Breaker::new("redis", limits))
    }

    fn new(service: &'static str, breaker: Breaker) -> Self {
        Self {
            service,
            breaker,
            available: watch::Sender::new(true),
        }
    }

    /// Returns the state of the circuit breaker and updates its metric.
    pub(crate) fn breaker(&self) -> State {
        self.breaker.publish();
        self.breaker.state()
    }

    /// Records a failure of the service.
    pub(crate) fn mark_unavailable(&self) {
        self.breaker.failed();
        if self.available.send_replace(false) {
            self.count("unavailable");
            warn!("{} became unavailable", self.service);
        }
    }

    /// Records an answer of the service, and makes it available unless the breaker is cooling down.
    pub(crate) fn mark_available(&self) {
        if self.breaker.is_closed() {
            self.breaker.succeeded();
        } else {
            // the answer that led here is the trial; `None` during the cooldown, or if another caller has the
            // trial
            let Some(trial) = self.breaker.begin_trial() else {
                return;
            };
            trial.passed();
        }
        if !self.available.send_replace(true) {
            self.count("available");
            info!("{} is available again", self.service);
        }
    }

    fn count(&self, to: &'static str) {
        let service = self.breaker.service();
        counter!("tasker_availability_changes_total", "service" => service, "to" => to).increment(1);
    }

    /// Returns true if the service is available.
    pub(crate) fn is_available(&self) -> bool {
        *self.available.borrow()
    }

    /// Waits until the service is available.
    pub(crate) async fn until_available(&self) {
        // the sender lives in this struct, so the channel cannot be closed
        let _ = self.available.subscribe().wait_for(|available| *available).await;
    }

    /// Waits until the service is unavailable.
    pub(crate) async fn until_unavailable(&self) {
        let _ = self.available.subscribe().wait_for(|available| !*available).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn postgres(errors: u32, cooldown: Duration) -> Availability {
        Availability::of_postgres(Limits {
            errors,
            cooldown,
            ..Limits::default()
        })
    }

    #[test]
    fn one_failure_makes_it_unavailable_and_one_answer_available() {
        let postgres = postgres(2, Duration::from_mins(1));
        postgres.mark_unavailable();
        assert!(!postgres.is_available());
        postgres.mark_available();
        assert!(postgres.is_available());
    }

    #[test]
    fn many_failures_keep_it_unavailable_for_the_cooldown_whatever_answers() {
        let postgres = postgres(2, Duration::from_mins(1));
        for _ in 0..2 {
            postgres.mark_unavailable();
            postgres.mark_available();
        }
        assert!(!postgres.is_available());
        assert_eq!(postgres.breaker(), State::Open);
    }

    #[test]
    fn the_first_answer_after_the_cooldown_makes_it_available() {
        let postgres = postgres(1, Duration::ZERO);
        postgres.mark_unavailable();
        assert_eq!(postgres.breaker(), State::HalfOpen);
        postgres.mark_available();
        assert!(postgres.is_available());
        assert_eq!(postgres.breaker(), State::Closed);
    }
}
