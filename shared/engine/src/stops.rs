//! The stops of a worker: the shutdown of its process, and the order in which this worker ends within it.

use metrics::counter;
use tasker_platform::lifecycle::Shutdown;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

/// The tokens that end the parts of a worker one after the other. Clones share them.
#[derive(Debug, Clone)]
pub struct Stops {
    /// The shutdown that this worker follows; it owns all background tasks.
    pub shutdown: Shutdown,
    /// Cancelled when the worker may claim no more.
    pub(crate) no_more_claims: CancellationToken,
    /// Cancelled when the remaining runs must end at once and are requeued.
    pub(crate) release_runs: CancellationToken,
    /// Cancelled when no run can hand in a completion any more.
    pub no_more_completions: CancellationToken,
    declared_dead: CancellationToken,
}

/// The guards that stop everything at once, as a crash would, when the future of the worker is dropped;
/// recovery requeues its tasks. The thread of a blocking handler cannot be stopped from outside; its run is
/// cancelled.
#[derive(Debug)]
pub struct StopsOnDrop([DropGuard; 4]);

impl Stops {
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self {
            no_more_claims: shutdown.soft().child_token(),
            shutdown,
            release_runs: CancellationToken::new(),
            no_more_completions: CancellationToken::new(),
            declared_dead: CancellationToken::new(),
        }
    }

    /// Stops the worker after it was declared dead: its tasks were requeued, and its writes are fenced.
    pub(crate) fn declare_dead(&self) {
        if !self.declared_dead.is_cancelled() {
            counter!("tasker_declared_dead_total").increment(1);
            error!("declared dead; dropping all runs");
        }
        // before the stop, after which `is_declared_dead` is read
        self.declared_dead.cancel();
        self.release_runs.cancel();
        self.shutdown.soft().cancel();
    }

    /// Returns true if the worker was declared dead.
    pub fn is_declared_dead(&self) -> bool {
        self.declared_dead.is_cancelled()
    }

    /// Applies the process's shutdown levels to this worker: quiet stops its claims, urgent releases its
    /// runs.
    pub(crate) async fn pass_on(self) {
        tokio::select! {
            biased;
            () = self.no_more_completions.cancelled() => return,
            () = self.shutdown.quiet().cancelled() => self.no_more_claims.cancel(),
        }
        tokio::select! {
            biased;
            () = self.no_more_completions.cancelled() => {}
            () = self.shutdown.urgent().cancelled() => self.release_runs.cancel(),
        }
    }

    /// Returns guards that stop everything when they are dropped.
    pub fn on_drop(&self) -> StopsOnDrop {
        let tokens = [
            self.shutdown.soft(),
            self.shutdown.hard(),
            &self.release_runs,
            &self.no_more_completions,
        ];
        StopsOnDrop(tokens.map(|token| token.clone().drop_guard()))
    }
}

impl StopsOnDrop {
    /// Drops the guards without stopping anything.
    pub fn disarm(self) {
        for guard in self.0 {
            guard.disarm();
        }
    }
}
