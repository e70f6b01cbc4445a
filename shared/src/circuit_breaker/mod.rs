//! Circuit breakers around Postgres and Redis: after a few errors nobody waits any more for a service that is
//! away, until one call has shown that it is back.
//!
//! Errors are counted only where they mean that the service is away: a row that cannot be stored or a
//! conflict says that it is there. A success while the breaker is closed does not wipe the errors before it,
//! since a service that answers every second call is not well.

mod machine;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::sync::watch;
use tracing::{info, warn};

pub use machine::{Limits, Machine, State};

/// How soon a watcher looks again at a breaker that somebody else is trying.
const RECHECK: Duration = Duration::from_secs(1);

/// A breaker around one service, shared by all who call it.
#[derive(Debug)]
pub struct Breaker {
    service: &'static str,
    inner: Mutex<Inner>,
    /// Whether calls go through, for those who wait for a change.
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    /// Since when calls do not go through.
    unavailable_since: Option<Instant>,
}

/// The one call that a half-open breaker lets through. Dropped without an outcome, it counts as failed.
#[derive(Debug)]
pub struct Trial<'a> {
    breaker: &'a Breaker,
    passed: bool,
}

impl Breaker {
    /// A closed breaker; `service` is its name in metrics and logs.
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

    /// Its name in metrics and logs.
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// What it does with calls right now.
    pub fn state(&self) -> State {
        self.inner().machine.state(Instant::now())
    }

    /// Whether calls go through.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Notes that a call was answered.
    pub fn succeeded(&self) {
        self.count("success");
    }

    /// Notes that a call found the service away.
    pub fn failed(&self) {
        self.count("failure");
        self.change(Machine::failed);
    }

    /// Notes that a call was not made because the breaker does not let it through.
    pub fn refused(&self) {
        self.count("refused");
    }

    /// Begins the one call that a half-open breaker lets through; nothing if it is not the time for one.
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

    /// Tries the service after each cooldown with `probe`, which tells whether it is back. Never ends.
    pub async fn watch<F: Future<Output = bool>>(&self, probe: impl Fn() -> F) {
        let mut changes = self.closed.subscribe();
        loop {
            // the sender lives in this struct, so the channel cannot be closed
            let _ = changes.wait_for(|closed| !*closed).await;
            let wait = self.inner().machine.trial_in(Instant::now());
            // without one, somebody else's trial is on its way: it ends in a cooldown, or closes the breaker
            tokio::time::sleep(wait.unwrap_or(RECHECK)).await;
            let Some(trial) = self.begin_trial() else { continue };
            if probe().await {
                trial.passed();
            }
        }
    }

    /// Writes the gauge. Whether a cooldown is over is a matter of time, so who serves metrics calls this
    /// before.
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
                    "the circuit breaker is closed again"
                );
            }
            State::Open if inner.unavailable_since.is_none() => {
                inner.unavailable_since = Some(now);
                warn!(
                    service = self.service,
                    "the circuit breaker is open: the service is away"
                );
            }
            State::Open | State::HalfOpen => {}
        }
        self.closed.send_replace(after == State::Closed);
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
    /// The service is back: the breaker closes.
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
    async fn a_trial_that_is_given_up_counts_as_failed() {
        let breaker = open_breaker();
        tokio::time::sleep(LIMITS.cooldown).await;
        drop(breaker.begin_trial().expect("it is time"));
        assert!(breaker.begin_trial().is_none());
        tokio::time::sleep(LIMITS.cooldown).await;
        breaker.begin_trial().expect("it is time").passed();
        assert!(breaker.is_closed());
    }
}
