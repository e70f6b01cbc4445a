//! Gates: whether Postgres and Redis answered the last time they were asked.
//!
//! Work is taken only while the last word from Postgres was a good one: any statement that fails closes its gate, and only a
//! heartbeat that was written opens it. A pop that fails closes the gate of Redis, and a probe that is answered opens it.
//!
//! A gate is stricter than a circuit breaker, which lets a few errors pass; it holds one all the same, for the other case: a
//! service that answers the probe and fails at work would open and close its gate without end. After `BREAKER_ERRORS`
//! failures the breaker is open, and no probe opens the gate before `BREAKER_COOLDOWN` is over: the first one after that
//! is the breaker's trial.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use tasker_shared::circuit_breaker::{Breaker, Limits, State};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::reminder::Reminder;
use crate::runtime::Parts;

/// How long a worker waits for a statement that writes no results.
pub(crate) const STATEMENT_MAX: Duration = Duration::from_secs(5);
/// The first and the longest wait between probes while Redis is away.
const PROBE_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// Open while a service answers.
#[derive(Debug)]
pub(crate) struct Gate {
    service: &'static str,
    breaker: Breaker,
    open: watch::Sender<bool>,
}

impl Gate {
    /// The open gate of Postgres.
    pub(crate) fn of_postgres(limits: Limits) -> Self {
        Self::new("Postgres", Breaker::new("postgres", limits))
    }

    /// The open gate of Redis.
    pub(crate) fn of_redis(limits: Limits) -> Self {
        Self::new("Redis", Breaker::new("redis", limits))
    }

    fn new(service: &'static str, breaker: Breaker) -> Self {
        Self {
            service,
            breaker,
            open: watch::Sender::new(true),
        }
    }

    /// What its breaker says, also to the metrics.
    pub(crate) fn breaker(&self) -> State {
        self.breaker.publish();
        self.breaker.state()
    }

    /// Notes that the service failed.
    pub(crate) fn close(&self) {
        self.breaker.failed();
        if self.open.send_replace(false) {
            self.count("unavailable");
            warn!("{} does not answer as it should", self.service);
        }
    }

    /// Notes that the service answers. Opens the gate, unless its breaker has to cool down.
    pub(crate) fn open(&self) {
        if self.breaker.is_closed() {
            self.breaker.succeeded();
        } else {
            let Some(trial) = self.breaker.begin_trial() else {
                return;
            };
            trial.passed();
        }
        if !self.open.send_replace(true) {
            self.count("available");
            info!("{} answers again", self.service);
        }
    }

    fn count(&self, to: &'static str) {
        let service = self.breaker.service();
        counter!("tasker_availability_changes_total", "service" => service, "to" => to).increment(1);
    }

    /// Whether the gate is open.
    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until the gate is open.
    pub(crate) async fn opened(&self) {
        // the sender lives in this struct, so the channel cannot be closed
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// Waits until the gate is closed.
    pub(crate) async fn closed(&self) {
        let _ = self.open.subscribe().wait_for(|open| !*open).await;
    }
}

/// Probes Redis while its gate is closed, until the soft stop.
pub(crate) async fn watch_redis(parts: Arc<Parts>) {
    loop {
        tokio::select! {
            biased;
            () = parts.shutdown.soft().cancelled() => return,
            () = until_redis_answers(&parts) => {}
        }
    }
}

async fn until_redis_answers(parts: &Parts) {
    parts.redis.closed().await;
    let mut wait = *PROBE_WAIT.start();
    let mut reminder = Reminder::default();
    while !parts.redis.is_open() {
        tokio::time::sleep(wait).await;
        match parts.queue.allows_pops().await {
            Ok(()) if !parts.redis_check.is_unsupported() => parts.redis.open(),
            Ok(()) => parts.redis.close(),
            Err(error) => {
                parts.redis.close();
                if reminder.is_due(&error.to_string(), Instant::now()) {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "Redis health probe failed"
                    );
                }
            }
        }
        wait = (wait * 2).min(*PROBE_WAIT.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(errors: u32, cooldown: Duration) -> Gate {
        Gate::of_postgres(Limits {
            errors,
            cooldown,
            ..Limits::default()
        })
    }

    #[test]
    fn one_failure_closes_the_gate_and_one_answer_opens_it() {
        let gate = gate(2, Duration::from_mins(1));
        gate.close();
        assert!(!gate.is_open());
        gate.open();
        assert!(gate.is_open());
    }

    #[test]
    fn many_failures_keep_it_closed_for_the_cooldown_whatever_answers() {
        let gate = gate(2, Duration::from_mins(1));
        for _ in 0..2 {
            gate.close();
            gate.open();
        }
        assert!(!gate.is_open());
        assert_eq!(gate.breaker(), State::Open);
    }

    #[test]
    fn the_first_answer_after_the_cooldown_opens_it() {
        let gate = gate(1, Duration::ZERO);
        gate.close();
        assert_eq!(gate.breaker(), State::HalfOpen);
        gate.open();
        assert!(gate.is_open());
        assert_eq!(gate.breaker(), State::Closed);
    }
}
