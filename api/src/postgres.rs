//! The availability of Postgres: a circuit breaker and health probes.
//!
//! A slow statement and a Postgres that hangs look alike to the caller. A probe distinguishes them: a caller
//! that has waited for `QUIET_MAX` without any answer of Postgres requests one. The probe uses a connection
//! of its own, and one probe serves all callers. When it fails they stop waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tasker_platform::circuit_breaker::{Breaker, Limits};
use tasker_store::{self as store, Observer, PgPool, takes_writes};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::ApiError;

/// The time without any answer of Postgres after which a waiting caller requests a probe. Together with
/// `PROBE_TIMEOUT` it limits the wait for a Postgres that hangs to less than two seconds.
const QUIET_MAX: Duration = Duration::from_millis(900);
/// The time limit of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);

/// The availability of Postgres as this server sees it.
#[derive(Debug)]
pub struct PostgresHealth {
    db: PgPool,
    breaker: Breaker,
    /// The time of the last answer.
    alive_at: Mutex<Instant>,
    /// True if the last probe or health check found that it takes no writes.
    read_only: AtomicBool,
    /// Requests a probe.
    probe_requested: Notify,
    /// The last probe; `None` before the first.
    last_probe: watch::Sender<Option<Probe>>,
}

/// The result of one probe.
#[derive(Debug, Clone, Copy)]
struct Probe {
    ended: Instant,
    answered: bool,
}

impl PostgresHealth {
    /// Creates the state with Postgres assumed available.
    pub fn new(db: PgPool, limits: Limits) -> Self {
        Self {
            db,
            breaker: Breaker::new("postgres", limits),
            alive_at: Mutex::new(Instant::now()),
            read_only: AtomicBool::new(false),
            probe_requested: Notify::new(),
            last_probe: watch::Sender::new(None),
        }
    }

    /// Returns the circuit breaker around Postgres.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Returns true if Postgres was read-only at the last check.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Records the result of a read-only check.
    pub fn takes_writes(&self, takes_writes: bool) {
        self.read_only.store(!takes_writes, Ordering::Relaxed);
    }

    /// Returns [`ApiError::Unavailable`] while the breaker is not closed.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.breaker.is_closed() {
            return Ok(());
        }
        self.breaker.refused();
        Err(ApiError::Unavailable(None))
    }

    /// Runs a statement of a connection that is not observed as long as Postgres is responsive, and records
    /// the result in the breaker. A statement that is abandoned may still take effect: its error is one of an
    /// unknown outcome.
    pub async fn call<T>(&self, statement: impl Future<Output = store::Result<T>>) -> store::Result<T> {
        let answer = tokio::select! {
            biased;
            answer = statement => answer,
            () = self.unresponsive() => Err(store::Error::timed_out()),
        };
        match &answer {
            Ok(_) => self.answered(),
            Err(error) => self.failed(error),
        }
        answer
    }

    /// Waits for `work`, which reports its own results, as long as Postgres is responsive. Records and
    /// returns a timeout error when it is not.
    pub async fn while_alive<T>(&self, work: impl Future<Output = store::Result<T>>) -> store::Result<T> {
        tokio::select! {
            biased;
            answer = work => answer,
            () = self.unresponsive() => {
                let error = store::Error::timed_out();
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Completes when Postgres has not answered anything since this call and a probe that began after it has
    /// failed.
    pub async fn unresponsive(&self) {
        let began = Instant::now();
        let mut probes = self.last_probe.subscribe();
        loop {
            // an answer to any statement postpones the probe: a slow statement alone is not an outage
            let quiet_until = (*self.alive_at()).max(began) + QUIET_MAX;
            let asked = Instant::now();
            if asked < quiet_until {
                tokio::time::sleep_until(quiet_until.into()).await;
                continue;
            }
            self.probe_requested.notify_one();
            // the sender lives in this struct, so the channel cannot be closed
            let found = probes
                .wait_for(|probe| probe.is_some_and(|probe| probe.ended >= asked))
                .await;
            if found.is_ok_and(|probe| probe.is_some_and(|probe| !probe.answered)) {
                return;
            }
        }
    }

    /// Runs requested probes, and probes Postgres while the breaker is open, until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.serve_probes() => {}
            () = self.breaker.watch(async || self.probe().await.unwrap_or(false)) => {}
        }
    }

    /// Probes Postgres and returns true if it takes writes.
    async fn probe(&self) -> store::Result<bool> {
        let answer = takes_writes(&self.db, PROBE_TIMEOUT).await;
        // a Postgres that does not answer is reported as unavailable, not as read-only
        self.takes_writes(*answer.as_ref().unwrap_or(&true));
        answer
    }

    async fn serve_probes(&self) {
        loop {
            self.probe_requested.notified().await;
            let answer = self.probe().await;
            match &answer {
                Ok(true) => self.answered(),
                Ok(false) => {
                    self.record_answer();
                    warn!("Postgres answers but takes no writes");
                    self.breaker.failed();
                }
                Err(error) => {
                    warn!(cause = %error, "Postgres health probe failed");
                    self.breaker.failed();
                }
            }
            self.last_probe.send_replace(Some(Probe {
                ended: Instant::now(),
                answered: answer.is_ok(),
            }));
        }
    }

    fn record_answer(&self) {
        *self.alive_at() = Instant::now();
    }

    fn alive_at(&self) -> MutexGuard<'_, Instant> {
        self.alive_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for PostgresHealth {
    fn answered(&self) {
        self.record_answer();
        self.breaker.succeeded();
    }

    /// Records that a statement failed. A pool timeout does not count as an outage while Postgres answers
    /// others.
    fn failed(&self, error: &store::Error) {
        let saturated = error.lacked_connection() && self.alive_at().elapsed() < QUIET_MAX + PROBE_TIMEOUT;
        if error.is_unavailable() && !saturated {
            self.breaker.failed();
        }
        // an error about the statement itself is an answer
        if error.is_answer() && !error.is_unavailable() {
            self.record_answer();
        }
    }
}
