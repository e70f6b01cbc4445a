//! Starting and stopping: two tokens, one tracker, the signals.
//!
//! The *soft* token asks to begin nothing new and to end what runs; the *hard* token ends it at
//! once. Soft is a child of hard, so whoever heeds soft also stops on hard. Everything that a
//! process spawns is owned by the tracker: a stop that returned has left nothing behind.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

/// The stop of a process, shared by all of its parts.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    hard: CancellationToken,
    soft: CancellationToken,
    tracker: TaskTracker,
    panicked: Arc<AtomicBool>,
}

/// Keeps listening for signals until dropped.
#[derive(Debug)]
pub struct SignalListener {
    _task: AbortOnDropHandle<()>,
}

impl Shutdown {
    /// A stop that nobody has asked for yet.
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        Self {
            soft: hard.child_token(),
            hard,
            ..Self::default()
        }
    }

    /// The stop of a part that can end and begin anew within the process: it stops with the process, and can be stopped by
    /// itself. It owns its own tasks.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            hard: self.hard.child_token(),
            soft: self.soft.child_token(),
            tracker: TaskTracker::new(),
            panicked: Arc::clone(&self.panicked),
        }
    }

    /// Cancelled when nothing new may begin.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when everything ends at once.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Whether an owned task panicked, so that `main` ends with a failure.
    pub fn panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }

    /// Spawns a task that the process owns. A panic in it is logged under `name`, and begins the
    /// soft stop: a process that lost one of its duties must not look healthy.
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
                    "a task of the process panicked"
                );
                this.panicked.store(true, Ordering::Relaxed);
                this.soft.cancel();
            }
        })
    }

    /// The tracker, for spawns whose panics are handled by their owner.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Listens for SIGTERM and SIGINT: the first cancels soft, the second hard, upon which `main`
    /// ends the process with [`EXIT_FAILURE`](crate::config::EXIT_FAILURE).
    pub fn listen(&self) -> io::Result<SignalListener> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        // Not on the tracker: a second signal must be heard while the tracker drains.
        let task = tokio::spawn(self.clone().heed(terminate, interrupt));
        Ok(SignalListener {
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Waits until soft was cancelled and every owned task has ended, or until hard is cancelled.
    /// Answers whether all of them ended.
    pub async fn drained(&self) -> bool {
        self.soft.cancelled().await;
        self.tracker.close();
        tokio::select! {
            biased;
            () = self.tracker.wait() => true,
            () = self.hard.cancelled() => false,
        }
    }

    async fn heed(self, mut terminate: Signal, mut interrupt: Signal) {
        let name = next_signal(&mut terminate, &mut interrupt).await;
        info!(signal = name, "stopping; a second signal ends it at once");
        self.soft.cancel();
        let name = next_signal(&mut terminate, &mut interrupt).await;
        warn!(signal = name, "ending at once");
        self.hard.cancel();
    }
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// The message of a caught panic, where it has one.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hard_is_also_soft_but_not_the_other_way() {
        let shutdown = Shutdown::new();
        shutdown.soft().cancel();
        assert!(!shutdown.hard().is_cancelled());
        let shutdown = Shutdown::new();
        shutdown.hard().cancel();
        assert!(shutdown.soft().is_cancelled());
    }

    #[test]
    fn a_child_stops_with_its_parent_and_alone() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.soft().cancel();
        assert!(!parent.soft().is_cancelled());
        let child = parent.child();
        parent.hard().cancel();
        assert!(child.soft().is_cancelled() && child.hard().is_cancelled());
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
