//! Hints: after the commit, never before it, and never a reason to fail.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tasker_shared::queue::{Hint, Queue};
use tracing::warn;

/// How long pushes are left out after one failed. A Redis that accepts and never answers would otherwise hold up every
/// flush for the whole timeout of a command; the net finds the rows meanwhile.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Pushes hints as long as Redis answers.
#[derive(Debug)]
pub struct Pusher {
    queue: Option<Arc<Queue>>,
    paused_until: Mutex<Option<Instant>>,
}

/// Which end of a list.
#[derive(Debug, Clone, Copy)]
enum End {
    Head,
    Tail,
}

impl Pusher {
    /// Without a queue (`PollingOnly`) nothing is pushed.
    pub fn new(queue: Option<Arc<Queue>>) -> Self {
        Self {
            queue,
            paused_until: Mutex::new(None),
        }
    }

    /// Puts the ids of rows that were just committed on the tails of their lists, in the order of the ids.
    pub async fn push(&self, mut hints: Vec<Hint>) {
        hints.sort_unstable();
        self.push_to(End::Tail, hints).await;
    }

    /// Puts the ids of rows that go back on the heads of their lists; the first given is popped first.
    pub async fn push_front(&self, hints: Vec<Hint>) {
        self.push_to(End::Head, hints).await;
    }

    async fn push_to(&self, end: End, hints: Vec<Hint>) {
        let Some(queue) = &self.queue else { return };
        if hints.is_empty() {
            return;
        }
        if self.is_paused() {
            count_failure(hints.len());
            return;
        }
        let pushed = match end {
            End::Tail => queue.push_back(&hints).await,
            End::Head => queue.push_front(&hints).await,
        };
        if let Err(error) = pushed {
            count_failure(hints.len());
            self.pause();
            warn!(%error, tasks = hints.len(), "tasks were stored, but not announced on their lists");
        }
    }

    fn is_paused(&self) -> bool {
        let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn pause(&self) {
        let until = Instant::now() + PAUSE_AFTER_FAILURE;
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

fn count_failure(tasks: usize) {
    metrics::counter!("tasker_push_failures_total").increment(tasks as u64);
}
