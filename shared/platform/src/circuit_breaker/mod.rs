//! Circuit breakers around Postgres and Redis: after a few errors, calls fail at once instead of waiting for
//! an unavailable service, until one trial call succeeds.
//!
//! Only errors that mean an unavailable service are counted: a row that cannot be stored or a conflict is an
//! answer. A success while the breaker is closed does not reset the count, since a service that answers every
//! second call is not healthy.

mod machine;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::sync::watch;
use tracing::{info, warn};

pub use machine::{Limits, Machine, State};

/// Time between checks of a breaker while another task's trial is in progress.
const RECHECK: Duration = Duration::from_secs(1);

/// A circuit breaker around one service, shared by all of its callers.
#[derive(Debug)]
pub struct Breaker {
    service: &'static str,
    inner: Mutex<Inner>,
    /// True while calls are permitted; a channel, so that tasks can wait for a change.
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    /// The time since which calls are not permitted.
    unavailable_since: Option<Instant>,
}

/// The one call that a half-open breaker permits. Dropped without an outcome, it counts as failed.
#[derive(Debug)]
pub struct Trial<'a> {
    breaker: &'a Breaker,
    passed: bool,
}

impl Breaker {
    /// Creates a closed breaker; `service` is its name in metrics and logs.
    pub fn new(service: &'static str, limits: Limits) -> Self {
        let breaker = Self {
            service,
            inner: Mutex::new(Inner {
                machine: Machine::new(limits),
                unavailable_since: None,
            }),
            closed: watch::Sender::new(true),
        };
        breaker.publish();
        breaker
    }

    /// Returns its name in metrics and logs.
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Returns its state now.
    pub fn state(&self) -> State {
        self.inner().machine.state(Instant::now())
    }

    /// Returns whether calls are permitted.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Records a call that was answered.
    pub fn succeeded(&self) {
        self.count("success");
    }

    /// Records a call that found the service unavailable.
    pub fn failed(&self) {
        self.count("failure");
        self.change(Machine::failed);
    }

    /// Records a call that was not made because the breaker did not permit it.
    pub fn refused(&self) {
        self.count("refused");
    }

    /// Begins the one call that a half-open breaker permits; `None` if the cooldown is not over or a trial is
    /// in progress.
    pub fn begin_trial(&self) -> Option<Trial<'_>> {
        if !self.inner().machine.begin_trial(Instant::now()) {
            return None;
        }
        self.count_transition(State::HalfOpen);
        self.publish();
        Some(Trial {
            breaker: self,
            passed: false,
        })
    }

    /// Runs the health probe `probe`, which returns whether the service is available, after each cooldown.
    /// Never returns.
    pub async fn watch<F: Future<Output = bool>>(&self, probe: impl Fn() -> F) {
        let mut changes = self.closed.subscribe();
        loop {
            // the sender lives in this struct, so the channel cannot be closed
            let _ = changes.wait_for(|closed| !*closed).await;
            let wait = self.inner().machine.trial_in(Instant::now());
            // `None` means that a caller's trial is in progress: it ends in a cooldown or closes the breaker
            tokio::time::sleep(wait.unwrap_or(RECHECK)).await;
            // `None` if a caller has begun a trial meanwhile
            let Some(trial) = self.begin_trial() else { continue };
            if probe().await {
                trial.passed();
            }
        }
    }

    /// Sets the gauge. Called before each scrape, since a cooldown ends by time alone, without a call.
    pub fn publish(&self) {
        let value = match self.state() {
            State::Closed => 0.0,
            State::HalfOpen => 1.0,
            State::Open => 2.0,
        };
        gauge!("tasker_circuit_breaker_state", "service" => self.service).set(value);
    }

    fn change(&self, change: impl FnOnce(&mut Machine, Instant)) {
        let now = Instant::now();
        let mut inner = self.inner();
        let before = inner.machine.state(now);
        change(&mut inner.machine, now);
        let after = inner.machine.state(now);
        if before == after {
            return;
        }
        self.count_transition(after);
        match after {
            State::Closed => {
                let unavailable = inner
                    .unavailable_since
                    .take()
                    .map(|since| now.duration_since(since));
                let unavailable = unavailable.unwrap_or_default();
                histogram!("tasker_circuit_breaker_recovery_seconds", "service" => self.service)
                    .record(unavailable);
                info!(
                    service = self.service,
                    seconds = unavailable.as_secs(),
                    "closed the circuit breaker: the service is available again"
                );
            }
            // a failed trial opens it again; the outage still began at the first opening
            State::Open if inner.unavailable_since.is_none() => {
                inner.unavailable_since = Some(now);
                warn!(
                    service = self.service,
                    "opened the circuit breaker: the service is unavailable"
                );
            }
            State::Open | State::HalfOpen => {}
        }
        // sent under the lock, so that two changes cannot reach the channel in the other order
        self.closed.send_replace(after == State::Closed);
        // `publish` locks again
        drop(inner);
        self.publish();
    }

    fn count(&self, outcome: &'static str) {
        counter!("tasker_circuit_breaker_calls_total", "service" => self.service, "outcome" => outcome)
            .increment(1);
    }

    fn count_transition(&self, to: State) {
        counter!("tasker_circuit_breaker_transitions_total", "service" => self.service, "to" => to.as_str())
            .increment(1);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trial<'_> {
    /// Ends the trial with success, which closes the breaker.
    pub fn passed(mut self) {
        self.passed = true;
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let passed = self.passed;
        self.breaker.count(if passed { "success" } else { "failure" });
        self.breaker.change(|machine, now| machine.end_trial(now, passed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LIMITS: Limits = Limits {
        errors: 2,
        window: Duration::from_mins(1),
        cooldown: Duration::from_millis(10),
    };

    fn open_breaker() -> Breaker {
        let breaker = Breaker::new("test", LIMITS);
        (0..LIMITS.errors).for_each(|_| breaker.failed());
        assert!(!breaker.is_closed());
        breaker
    }

    #[tokio::test]
    async fn a_watched_one_closes_by_itself_once_the_service_is_back() {
        let breaker = open_breaker();
        let probes = AtomicUsize::new(0);
        let mut closed = breaker.closed.subscribe();
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => {}
            () = breaker.watch(async || probes.fetch_add(1, Ordering::SeqCst) == 2) => {}
        }
        assert_eq!(probes.load(Ordering::SeqCst), 3);
        assert_eq!(breaker.state(), State::Closed);
    }

    #[tokio::test]
    async fn a_trial_dropped_without_an_outcome_counts_as_failed() {
        let breaker = open_breaker();
        tokio::time::sleep(LIMITS.cooldown).await;
        drop(breaker.begin_trial().expect("it is time"));
        assert!(breaker.begin_trial().is_none());
        tokio::time::sleep(LIMITS.cooldown).await;
        breaker.begin_trial().expect("it is time").passed();
        assert!(breaker.is_closed());
    }
}
