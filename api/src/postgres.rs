//! Whether Postgres is there: a circuit breaker, and signs of life.
//!
//! A statement that takes long is no outage, and a Postgres that hangs answers nothing: what tells them apart is whether it
//! gives a sign of life meanwhile. Who waits for a statement longer than a moment looks for the last sign; without a recent
//! one Postgres is asked for one, over a connection made for that, once for all who wait. Without an answer they stop waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tasker_shared::circuit_breaker::{Breaker, Limits};
use tasker_shared::store::{self, PgPool, is_away, takes_writes};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::{ApiError, describe};

/// How long a caller waits before it asks whether Postgres is still there. This and the next together are how long a caller
/// waits for a Postgres that hangs: less than two seconds.
const QUIET_MAX: Duration = Duration::from_millis(900);
/// How long Postgres may take to answer that question.
const ANSWER_MAX: Duration = Duration::from_millis(800);

/// What this server knows of Postgres being there.
#[derive(Debug)]
pub struct PostgresHealth {
    db: PgPool,
    breaker: Breaker,
    /// When it last gave a sign of life.
    alive_at: Mutex<Instant>,
    /// Whether it answered lately that it takes no writes.
    read_only: AtomicBool,
    /// Asks for a look.
    wanted: Notify,
    /// What the last look found.
    looked: watch::Sender<Option<Look>>,
}

/// A question whether it is there.
#[derive(Debug, Clone, Copy)]
struct Look {
    ended: Instant,
    answered: bool,
}

impl PostgresHealth {
    /// Believes at first that it is there.
    pub fn new(db: PgPool, limits: Limits) -> Self {
        Self {
            db,
            breaker: Breaker::new("postgres", limits),
            alive_at: Mutex::new(Instant::now()),
            read_only: AtomicBool::new(false),
            wanted: Notify::new(),
            looked: watch::Sender::new(None),
        }
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Whether it takes no writes, by its last answer to that question.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Notes whether it takes writes.
    pub fn takes_writes(&self, takes_writes: bool) {
        self.read_only.store(!takes_writes, Ordering::Relaxed);
    }

    /// Turns a caller away while the breaker is not closed.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.breaker.is_closed() {
            return Ok(());
        }
        self.breaker.refused();
        Err(ApiError::Unavailable(None))
    }

    /// Waits for a statement as long as Postgres gives signs of life, and notes what came of it. One that is given up may take
    /// place all the same, which its error says.
    pub async fn call<T>(&self, statement: impl Future<Output = store::Result<T>>) -> store::Result<T> {
        let answer = self.while_alive(statement).await;
        match &answer {
            Ok(_) => self.answered(),
            Err(error) => self.failed(error),
        }
        answer
    }

    /// Waits for `work` as long as Postgres gives signs of life.
    pub async fn while_alive<T>(&self, work: impl Future<Output = store::Result<T>>) -> store::Result<T> {
        tokio::select! {
            biased;
            answer = work => answer,
            () = self.silent() => Err(store::Error::Io(std::io::ErrorKind::TimedOut.into())),
        }
    }

    /// Ends when Postgres has given no sign of life since this call, though it was asked for one.
    pub async fn silent(&self) {
        let began = Instant::now();
        let mut looked = self.looked.subscribe();
        loop {
            let quiet_until = (*self.alive_at()).max(began) + QUIET_MAX;
            let asked = Instant::now();
            if asked < quiet_until {
                tokio::time::sleep_until(quiet_until.into()).await;
                continue;
            }
            self.wanted.notify_one();
            // the sender lives in this struct, so the channel cannot be closed
            let found = looked
                .wait_for(|look| look.is_some_and(|look| look.ended >= asked))
                .await;
            if found.is_ok_and(|look| look.is_some_and(|look| !look.answered)) {
                return;
            }
        }
    }

    /// Notes that a statement was answered.
    pub fn answered(&self) {
        self.sign_of_life();
        self.breaker.succeeded();
    }

    /// Notes that a statement failed. One for which no connection was free says nothing while Postgres answers others.
    pub fn failed(&self, error: &store::Error) {
        let saturated =
            matches!(error, store::Error::PoolTimedOut) && self.alive_at().elapsed() < QUIET_MAX + ANSWER_MAX;
        if is_away(error) && !saturated {
            self.breaker.failed();
        }
        if error.as_database_error().is_some() && !is_away(error) {
            self.sign_of_life();
        }
    }

    /// Answers those who ask for a sign of life, and tries Postgres while the breaker is open, until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.look() => {}
            () = self.breaker.watch(async || self.ask().await.unwrap_or(false)) => {}
        }
    }

    /// Asks it whether it takes writes.
    async fn ask(&self) -> store::Result<bool> {
        let answer = takes_writes(&self.db, ANSWER_MAX).await;
        // one that does not answer is unavailable, whatever it said before
        self.takes_writes(*answer.as_ref().unwrap_or(&true));
        answer
    }

    async fn look(&self) {
        loop {
            self.wanted.notified().await;
            let answer = self.ask().await;
            match &answer {
                Ok(true) => self.answered(),
                Ok(false) => {
                    self.sign_of_life();
                    warn!("Postgres answers and takes no writes");
                    self.breaker.failed();
                }
                Err(error) => {
                    warn!(cause = describe(error), "Postgres gives no sign of life");
                    self.breaker.failed();
                }
            }
            self.looked.send_replace(Some(Look {
                ended: Instant::now(),
                answered: answer.is_ok(),
            }));
        }
    }

    fn sign_of_life(&self) {
        *self.alive_at() = Instant::now();
    }

    fn alive_at(&self) -> MutexGuard<'_, Instant> {
        self.alive_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
