//! Graceful shutdown: four cancellation tokens, a task tracker and the signals.
//!
//! The tokens are four stages of a stop, and each one is a child of the next: *quiet* asks to claim no more
//! work, *soft* to start no new work and finish the current, *urgent* to release running work within moments,
//! *hard* to end at once. So a part that waits for one stage also stops at every later one. The tracker owns
//! every task that a process spawns: when a stop returns, all of them have ended.
//!
//! | signal | server | worker |
//! |---|---|---|
//! | SIGTERM, SIGINT, SIGQUIT | 1st: soft, 2nd: hard | 1st: soft, 2nd: urgent, 3rd: hard |
//! | SIGUSR1 | ignored | quiet |
//! | SIGHUP, SIGUSR2 | ignored | ignored |

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

use crate::telemetry::Component;

/// Time from the urgent stop of a worker to the hard stop.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// The shutdown of a process, shared by all of its parts.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    hard: CancellationToken,
    urgent: CancellationToken,
    soft: CancellationToken,
    quiet: CancellationToken,
    tracker: TaskTracker,
    panicked: Arc<AtomicBool>,
}

/// The task that handles signals, until it is dropped.
#[derive(Debug)]
pub struct SignalListener {
    _task: AbortOnDropHandle<()>,
}

impl Shutdown {
    /// Creates a shutdown that has not been requested.
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        let urgent = hard.child_token();
        let soft = urgent.child_token();
        Self {
            quiet: soft.child_token(),
            soft,
            urgent,
            hard,
            ..Self::default()
        }
    }

    /// Returns the shutdown of a part that can stop and start again within the process: it stops with the
    /// process and can be stopped alone. It tracks its own tasks. Each of its tokens is a child only of the
    /// same token of the process.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            hard: self.hard.child_token(),
            urgent: self.urgent.child_token(),
            soft: self.soft.child_token(),
            quiet: self.quiet.child_token(),
            // a tracker of its own, so that `drained` of the part does not wait for the rest of the process
            tracker: TaskTracker::new(),
            panicked: Arc::clone(&self.panicked),
        }
    }

    /// Returns the token that is cancelled when a worker must claim no more work; it still finishes what it
    /// runs.
    pub fn quiet(&self) -> &CancellationToken {
        &self.quiet
    }

    /// Returns the token that is cancelled when no new work may start.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Returns the token that is cancelled when running work must be released within moments.
    pub fn urgent(&self) -> &CancellationToken {
        &self.urgent
    }

    /// Returns the token that is cancelled when everything must end at once.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Returns whether a tracked task panicked, in which case `main` exits with a failure.
    pub fn panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }

    /// Spawns a tracked background task. A panic in it is logged under `name` and starts the soft stop: a
    /// process that lost one of its duties must not appear healthy.
    pub fn spawn_named<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let this = self.clone();
        self.tracker.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                error!(
                    task = name,
                    panic = panic_text(&*panic),
                    "background task panicked; shutting down"
                );
                // set first: `main` reads it once the soft stop below has drained the process
                this.panicked.store(true, Ordering::Relaxed);
                this.soft.cancel();
            }
        })
    }

    /// Returns the tracker, for tasks whose panics are handled by their owner.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Handles signals until the returned listener is dropped, as the table of this module says. After the
    /// hard stop, `main` exits with exit code 1.
    pub fn listen(&self, component: Component) -> io::Result<SignalListener> {
        let signals = Signals::new()?;
        // not tracked: a second signal must be handled while the tracker drains
        let task = tokio::spawn(self.clone().handle(signals, component));
        Ok(SignalListener {
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Waits until the soft stop was requested and every tracked task has ended, or until the hard stop.
    /// Returns whether all tasks ended.
    pub async fn drained(&self) -> bool {
        self.soft.cancelled().await;
        self.tracker.close();
        tokio::select! {
            // if both are ready, all tasks have ended
            biased;
            () = self.tracker.wait() => true,
            () = self.hard.cancelled() => false,
        }
    }

    async fn handle(self, mut signals: Signals, component: Component) {
        let signal = self.stop_signal(&mut signals, component).await;
        info!(
            signal,
            "received a stop signal; shutting down, a second signal stops at once"
        );
        self.soft.cancel();
        let signal = self.stop_signal(&mut signals, component).await;
        if component == Component::Worker {
            warn!(signal, "received a second stop signal; releasing running tasks");
            self.urgent.cancel();
            // a third signal does not wait for that
            let _ = tokio::time::timeout(LAST_MOMENTS, self.stop_signal(&mut signals, component)).await;
        }
        warn!(signal, "stopping without waiting for work in progress");
        self.hard.cancel();
    }

    /// Waits for a stop signal and returns its name; handles the others.
    async fn stop_signal(&self, signals: &mut Signals, component: Component) -> &'static str {
        loop {
            match (signals.next().await, component) {
                (Received::Stop(name), _) => return name,
                (Received::Quiet, Component::Worker) => {
                    info!(signal = "SIGUSR1", "stopped claiming tasks");
                    self.quiet.cancel();
                }
                (Received::Quiet, Component::Orchestration) => info!(signal = "SIGUSR1", "ignored a signal"),
                (Received::Ignored(name), _) => info!(signal = name, "ignored a signal"),
            }
        }
    }
}

/// The handled signals, each of which would end the process by default.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

/// The effect of a received signal.
#[derive(Debug, Clone, Copy)]
enum Received {
    Stop(&'static str),
    Quiet,
    Ignored(&'static str),
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Received::Stop("SIGINT"),
            _ = self.quit.recv() => Received::Stop("SIGQUIT"),
            _ = self.user1.recv() => Received::Quiet,
            _ = self.hangup.recv() => Received::Ignored("SIGHUP"),
            _ = self.user2.recv() => Received::Ignored("SIGUSR2"),
        }
    }
}

/// Returns the message of a caught panic, or `no message`.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_stop_is_also_every_earlier_one_but_not_the_other_way() {
        let stages = |shutdown: &Shutdown| {
            let Shutdown {
                quiet,
                soft,
                urgent,
                hard,
                ..
            } = shutdown;
            [quiet, soft, urgent, hard].map(CancellationToken::clone)
        };
        for stage in 0..4 {
            let stages = stages(&Shutdown::new());
            stages[stage].cancel();
            let cancelled = stages.map(|token| token.is_cancelled());
            assert_eq!(cancelled, [0, 1, 2, 3].map(|other| other <= stage));
        }
    }

    #[test]
    fn a_child_stops_with_its_parent_and_alone() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.soft().cancel();
        assert!(!parent.soft().is_cancelled());
        let child = parent.child();
        parent.quiet().cancel();
        assert!(child.quiet().is_cancelled() && !child.soft().is_cancelled());
        parent.urgent().cancel();
        assert!(child.urgent().is_cancelled() && !child.hard().is_cancelled());
        parent.hard().cancel();
        assert!(child.hard().is_cancelled());
    }

    #[tokio::test]
    async fn a_drain_waits_for_every_owned_task() {
        let shutdown = Shutdown::new();
        let soft = shutdown.soft().clone();
        shutdown.spawn_named("duty", async move { soft.cancelled().await });
        shutdown.soft().cancel();
        assert!(shutdown.drained().await);
        assert!(!shutdown.panicked());
    }

    #[tokio::test]
    async fn a_panic_begins_the_stop_and_is_remembered() {
        let shutdown = Shutdown::new();
        shutdown.spawn_named("duty", async { panic!("on purpose") });
        assert!(shutdown.drained().await);
        assert!(shutdown.panicked());
    }

    #[tokio::test]
    async fn a_hard_stop_ends_the_wait_for_a_task_that_hangs() {
        let shutdown = Shutdown::new();
        shutdown.spawn_named("duty", std::future::pending());
        shutdown.hard().cancel();
        assert!(!shutdown.drained().await);
    }
}
