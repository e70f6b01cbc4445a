//! Liveness: shows the fleet that this process lives, on a thread and over connections of its own.
//!
//! Heartbeats go over a session that also holds this worker's lock. Postgres frees the lock when the session ends, which is how
//! the leader sees a death within seconds. While runs are held a second session is kept, so that a connection that breaks
//! looks like nothing but that; both are opened again at once.
//!
//! Handlers cannot stop the heartbeats by blocking the main runtime. Should that not move at all for `WORKER_TIMEOUT`, this worker
//! is as good as dead: its sessions are closed, others take its tasks, and it learns of that when it moves again.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tasker_shared::store;
use tasker_shared::store::liveness::{LivenessKey, Session};
use tasker_shared::store::workers;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use crate::heartbeat;
use crate::runtime::Parts;

/// Time between looks whether the main runtime moves.
const PULSE: Duration = Duration::from_secs(1);
/// The longest time that a heartbeat may take, its connection included.
const BEAT_MAX: Duration = Duration::from_secs(5);
/// The first wait between tries that fail.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest wait between tries, also to take the lock while an earlier session of this worker still has it.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// After this long without a failure, the next one is a first one.
const STEADY: Duration = Duration::from_secs(5);
/// Time between looks whether the second session is still of use.
const SPARE_LOOK: Duration = Duration::from_secs(30);

/// Starts the thread. It ends when no run can hand in its end any more, or with the main runtime.
pub(crate) fn start(parts: &Arc<Parts>, key: LivenessKey) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (ending, ended) = oneshot::channel();
    let keeper = Keeper::new(Arc::clone(parts), key, Handle::current());
    std::thread::Builder::new()
        .name("liveness".to_owned())
        .spawn(move || {
            runtime.block_on(keeper.run());
            // what still closes connections, or looks a name up, is not waited for
            runtime.shutdown_background();
            // nobody waits for it any more if the process is torn down
            let _ = ending.send(());
        })?;
    parts.shutdown.spawn_named("liveness", async move {
        ended.await.expect("the liveness thread does not panic");
    });
    Ok(())
}

/// Keeps this worker's sessions and heartbeats going.
struct Keeper {
    parts: Arc<Parts>,
    key: LivenessKey,
    main: Handle,
    /// When the last heartbeat was answered; nothing if it was not.
    answered: Cell<Option<Instant>>,
}

/// The main runtime, as far as this thread can tell.
#[derive(PartialEq, Eq)]
enum Main {
    Stuck,
    Gone,
}

impl Keeper {
    fn new(parts: Arc<Parts>, key: LivenessKey, main: Handle) -> Self {
        Self {
            parts,
            key,
            main,
            answered: Cell::new(None),
        }
    }

    async fn run(self) {
        let over = async {
            tokio::select! {
                () = self.parts.no_more_ends.cancelled() => {}
                () = self.parts.shutdown.hard().cancelled() => {}
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
            error!(
                "no task of this worker has moved for WORKER_TIMEOUT; its sessions are closed until one does"
            );
            if self.main.spawn(async {}).await.is_err() {
                return;
            }
            info!("the tasks of this worker move again");
        }
    }

    /// Ends when the main runtime has run nothing for `WORKER_TIMEOUT`, or is no more.
    async fn watch_main(&self) -> Main {
        let config = &self.parts.config;
        loop {
            // spawned from outside, so that any thread of the runtime that is free takes it
            let probe = self.main.spawn(async {});
            match tokio::time::timeout(config.worker_timeout, probe).await {
                Ok(Ok(())) => tokio::time::sleep(PULSE).await,
                Ok(Err(_)) => return Main::Gone,
                Err(_) => return Main::Stuck,
            }
        }
    }

    /// Beats for ever, over a session that is opened again at once when it breaks.
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
                    let soon = if beat.holds_lock { Duration::MAX } else { RETRY_MAX };
                    tokio::select! {
                        biased;
                        () = closed(&mut session) => lost("main", "the connection of the heartbeats was closed"),
                        // while the gate is closed it beats faster: only a heartbeat opens it
                        () = self.parts.gate.closed() => {}
                        () = tokio::time::sleep(soon.min(self.parts.config.heartbeat_interval)) => continue,
                    }
                }
                Err(error) => {
                    self.parts.gate.close();
                    warn!(%error, "a heartbeat was not written");
                }
            }
            retry.pause().await;
        }
    }

    /// One heartbeat. Without an answer in time, the session is given up.
    async fn beat_once(&self, session: &mut Option<Session>) -> store::Result<workers::Heartbeat> {
        let attempt = async {
            let mut open = match session.take() {
                Some(open) => open,
                None => Session::open(&self.parts.db, self.key).await?,
            };
            // what was claimed before the last heartbeat and is not held was lost, unless its claim is still on its way
            if let Some(last) = self.answered.take()
                && self.parts.held.knows_claims_before(last)
            {
                heartbeat::reclaim_lost_claims(&self.parts, &mut open, &self.main).await;
            }
            let answer = heartbeat::beat(&self.parts, &mut open).await?;
            self.answered.set(Some(Instant::now()));
            *session = Some(open);
            Ok(answer)
        };
        let limit = BEAT_MAX.min(self.parts.config.worker_timeout / 2);
        store::bounded(limit, attempt).await
    }

    /// Keeps a second session while runs are held.
    async fn keep_spare(&self) -> Infallible {
        let mut retry = Retry::default();
        loop {
            self.parts.held.until(true).await;
            match Session::open(&self.parts.db, self.key).await {
                Ok(mut spare) => tokio::select! {
                    biased;
                    () = spare.closed() => lost("spare", "the spare connection was closed"),
                    () = self.out_of_use() => {}
                },
                Err(error) => debug!(%error, "the spare connection was not opened"),
            }
            retry.pause().await;
        }
    }

    /// Ends when nothing is held. It looks now and then: to be told would wake this thread with each run.
    async fn out_of_use(&self) {
        loop {
            tokio::time::sleep(SPARE_LOOK).await;
            if self.parts.held.len() == 0 {
                return;
            }
        }
    }
}

/// Notes that a session was closed from outside.
fn lost(session: &'static str, what: &'static str) {
    counter!("tasker_liveness_losses_total", "session" => session).increment(1);
    info!("{what}");
}

/// Ends, and forgets the session, when its connection is closed.
async fn closed(session: &mut Option<Session>) {
    if let Some(open) = session {
        open.closed().await;
    }
    *session = None;
}

/// The pauses between tries: none before the first, longer ones as long as tries follow each other closely.
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
