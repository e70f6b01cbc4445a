//! Misrouted hints: sends popped hints of tasks that this worker cannot run to where they can be.

use std::time::{Duration, Instant};

use metrics::counter;
use tasker_core::task::Hint;
use tasker_store::claim::Misrouted;
use tokio::sync::watch;
use tracing::warn;

use crate::hints::Hints;

/// Pause of a claim loop after it popped hints of other workers' task types. Until the leader has split the
/// queue, it would pop the same ones again.
const PAUSE: Duration = Duration::from_millis(100);

/// Moves the misrouted hints of one claim loop.
pub(crate) struct Rerouter {
    hints: Hints,
    /// The end of the pause after misrouted hints.
    pops_resume_at: watch::Sender<Option<Instant>>,
}

impl Rerouter {
    pub(crate) fn new(hints: Hints) -> Self {
        Self {
            hints,
            pops_resume_at: watch::Sender::new(None),
        }
    }

    /// Moves popped hints that cannot run here: to the list of the workers that register the type, or, if no
    /// live worker does, to the parked hints.
    pub(crate) async fn reroute(&self, misrouted: Vec<Misrouted>) {
        if misrouted.is_empty() {
            return;
        }
        counter!("tasker_misrouted_hints_total").increment(misrouted.len() as u64);
        let (routable, unroutable): (Vec<_>, Vec<_>) = misrouted.into_iter().partition(|task| task.routable);
        let hints = |tasks: Vec<Misrouted>| -> Vec<Hint> {
            let tasks = tasks.into_iter();
            tasks
                .map(|task| Hint::new(task.id, task.queue, task.task_name))
                .collect()
        };
        if !routable.is_empty() {
            self.pops_resume_at.send_replace(Some(Instant::now() + PAUSE));
            if let Err(error) = self.hints.queue().reroute(&hints(routable)).await {
                warn!(%error, "failed to reroute hints to the workers that register their types; fallback polls find the tasks");
            }
        }
        if let Err(error) = self.hints.queue().park(&hints(unroutable)).await {
            warn!(%error, "failed to park the hints of tasks whose type no live worker registers");
        }
    }

    /// Waits until the pause after misrouted hints is over.
    pub(crate) async fn pause(&self) {
        let until = *self.pops_resume_at.borrow();
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
    }
}
