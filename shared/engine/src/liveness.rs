//! Liveness: heartbeats and the advisory lock of this worker, on a thread and over connections of their own.
//!
//! Heartbeats use a session that also holds this worker's advisory lock. Postgres releases the lock when the
//! session ends, so the leader detects a dead worker within seconds. While runs are in flight a second
//! session is open, so that one broken connection is not taken for a death; both are reopened at once.
//!
//! Handlers cannot stop the heartbeats by blocking the main runtime. If that runtime makes no progress for
//! `WORKER_TIMEOUT`, the worker counts as dead: its sessions are closed, its tasks are requeued, and it finds
//! out when it makes progress again.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tasker_store::liveness::{LivenessKey, Session};
use tasker_store::{self as store, PgPool, workers};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use crate::heartbeat::{self, Beats};

/// Time between checks of the main runtime.
const PULSE: Duration = Duration::from_secs(1);
/// Time limit of a heartbeat, including the connection.
const BEAT_MAX: Duration = Duration::from_secs(5);
/// The first wait between failed attempts.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The maximum wait between attempts, also to take the lock while an earlier session of this worker still
/// holds it.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Time without a failure after which the waits start from the first one again.
const STEADY: Duration = Duration::from_secs(5);
/// Time between checks for in-flight runs, without which the second session is closed.
const SPARE_CHECK: Duration = Duration::from_secs(30);

/// Starts the liveness thread. It ends when no run can hand in a completion any more, or with the main
/// runtime.
pub(crate) fn start(beats: Beats, db: PgPool, key: LivenessKey) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (ending, ended) = oneshot::channel();
    let shutdown = beats.stops.shutdown.clone();
    let keeper = Keeper::new(beats, db, key, Handle::current());
    std::thread::Builder::new()
        .name("liveness".to_owned())
        .spawn(move || {
            runtime.block_on(keeper.run());
            // without waiting for connections that are closing or names that are being resolved
            runtime.shutdown_background();
            // fails if the process is shutting down and the receiver is gone
            let _ = ending.send(());
        })?;
    shutdown.spawn_named("liveness", async move {
        ended.await.expect("the liveness thread does not panic");
    });
    Ok(())
}

/// The owner of this worker's liveness sessions and heartbeats.
struct Keeper {
    beats: Beats,
    db: PgPool,
    key: LivenessKey,
    main: Handle,
    /// The time at which the last heartbeat was answered; `None` if it failed.
    answered: Cell<Option<Instant>>,
}

/// A state of the main runtime in which this thread stops the heartbeats.
#[derive(PartialEq, Eq)]
enum Main {
    Stuck,
    Gone,
}

impl Keeper {
    fn new(beats: Beats, db: PgPool, key: LivenessKey, main: Handle) -> Self {
        Self {
            beats,
            db,
            key,
            main,
            answered: Cell::new(None),
        }
    }

    async fn run(self) {
        let over = async {
            tokio::select! {
                () = self.beats.stops.no_more_completions.cancelled() => {}
                () = self.beats.stops.shutdown.hard().cancelled() => {}
            }
        };
        tokio::select! {
            biased;
            () = over => {}
            () = self.live() => {}
        }
    }

    async fn live(&self) {
        loop {
            let main = tokio::select! {
                biased;
                main = self.watch_main() => main,
                never = async { tokio::join!(self.beat(), self.keep_spare()) } => match never {},
            };
            if main == Main::Gone {
                return;
            }
            // the select dropped `beat` and `keep_spare`, and with them both sessions and the lock
            error!(
                "async runtime made no progress for WORKER_TIMEOUT; closed the liveness sessions until it does"
            );
            if self.main.spawn(async {}).await.is_err() {
                return;
            }
            info!("async runtime makes progress again; reopening the liveness sessions");
        }
    }

    /// Waits until the main runtime has made no progress for `WORKER_TIMEOUT`, or has shut down.
    async fn watch_main(&self) -> Main {
        loop {
            // spawned from outside, so that any thread of the runtime that is free takes it
            let probe = self.main.spawn(async {});
            match tokio::time::timeout(self.beats.settings.worker_timeout, probe).await {
                Ok(Ok(())) => tokio::time::sleep(PULSE).await,
                Ok(Err(_)) => return Main::Gone,
                Err(_) => return Main::Stuck,
            }
        }
    }

    /// Sends heartbeats for ever, over a session that is reopened at once when it breaks.
    async fn beat(&self) -> Infallible {
        let mut session = None;
        let mut retry = Retry::default();
        loop {
            let began = Instant::now();
            let beat = self.beat_once(&mut session).await;
            histogram!("tasker_heartbeat_seconds").record(began.elapsed());
            let outcome = if beat.is_ok() { "written" } else { "failed" };
            counter!("tasker_heartbeats_total", "outcome" => outcome).increment(1);
            match beat {
                Ok(beat) => {
                    // without the lock (an old session of this worker still holds it) the next heartbeat
                    // tries again soon
                    let soon = if beat.holds_lock { Duration::MAX } else { RETRY_MAX };
                    tokio::select! {
                        biased;
                        () = closed(&mut session) => lost("main", "heartbeat connection was closed"),
                        // retry at once: after any failed statement, only a heartbeat makes Postgres
                        // available again
                        () = self.beats.postgres.until_unavailable() => {}
                        () = tokio::time::sleep(soon.min(self.beats.settings.heartbeat_interval)) => continue,
                    }
                }
                Err(error) => {
                    self.beats.postgres.mark_unavailable();
                    warn!(%error, "heartbeat failed");
                }
            }
            retry.pause().await;
        }
    }

    /// Sends one heartbeat. Without an answer in time, the session is dropped.
    async fn beat_once(&self, session: &mut Option<Session>) -> store::Result<workers::Heartbeat> {
        let attempt = async {
            let mut open = match session.take() {
                Some(open) => open,
                None => Session::open(&self.db, self.key).await?,
            };
            // a run that was claimed before the last heartbeat and is not in flight was lost, unless its
            // claim is pending. `take`: skipped after a failed heartbeat, which may have been written and
            // moved the time in Postgres past `last`
            if let Some(last) = self.answered.take()
                && self.beats.in_flight.knows_claims_before(last)
            {
                heartbeat::requeue_lost_claims(&self.beats, &mut open, &self.main).await;
            }
            let answer = heartbeat::beat(&self.beats, &mut open).await?;
            self.answered.set(Some(Instant::now()));
            // only after success: on error or timeout the session is dropped, which also releases the lock
            *session = Some(open);
            Ok(answer)
        };
        let limit = BEAT_MAX.min(self.beats.settings.worker_timeout / 2);
        store::bounded(limit, attempt).await
    }

    /// Keeps a second session open while runs are in flight.
    async fn keep_spare(&self) -> Infallible {
        let mut retry = Retry::default();
        loop {
            self.beats.in_flight.until(true).await;
            match Session::open(&self.db, self.key).await {
                Ok(mut spare) => tokio::select! {
                    biased;
                    () = spare.closed() => lost("spare", "spare connection was closed"),
                    () = self.idle() => {}
                },
                Err(error) => debug!(%error, "failed to open the spare connection"),
            }
            retry.pause().await;
        }
    }

    /// Waits until no run is in flight. Polls: a notification would wake this thread with each run.
    async fn idle(&self) {
        loop {
            tokio::time::sleep(SPARE_CHECK).await;
            if self.beats.in_flight.len() == 0 {
                return;
            }
        }
    }
}

/// Counts and logs a session that was closed from outside.
fn lost(session: &'static str, what: &'static str) {
    counter!("tasker_liveness_losses_total", "session" => session).increment(1);
    info!("{what}");
}

/// Waits until the connection of the session is closed, and drops the session.
async fn closed(session: &mut Option<Session>) {
    if let Some(open) = session {
        open.closed().await;
    }
    *session = None;
}

/// The pauses between attempts: none before the first, then doubling while attempts follow each other
/// closely.
#[derive(Debug, Default)]
struct Retry {
    wait: Duration,
    last: Option<Instant>,
}

impl Retry {
    async fn pause(&mut self) {
        if self.last.is_none_or(|last| last.elapsed() > STEADY) {
            self.wait = Duration::ZERO;
        }
        tokio::time::sleep(self.wait).await;
        self.last = Some(Instant::now());
        self.wait = (self.wait * 2).clamp(RETRY_MIN, RETRY_MAX);
    }
}
