//! Paused queues of this worker: claims report them, and a check every second finds those that were resumed.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tasker_core::task::QueueName;
use tasker_store::{self as store, PgPool};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::statement_limit::STATEMENT_MAX;

/// Time between checks for resumed queues. There are none while no queue is paused.
const CHECK: Duration = Duration::from_secs(1);

/// The queues that claims reported as paused.
#[derive(Debug, Default)]
pub(crate) struct Paused {
    names: Mutex<HashSet<QueueName>>,
    added: Notify,
    removed: Notify,
}

impl Paused {
    /// Adds the paused queues that a claim reported.
    pub(crate) fn add(&self, names: &HashSet<QueueName>) {
        let mut known = self.names();
        for name in names {
            if known.insert(name.clone()) {
                info!(queue = %name, "queue paused; not claiming from it");
                self.added.notify_one();
            }
        }
    }

    /// Returns the number of paused queues.
    pub(crate) fn count(&self) -> usize {
        self.names().len()
    }

    /// Returns those of `queues` that are not paused, in the same order.
    pub(crate) fn leave_out(&self, queues: &[QueueName]) -> Vec<QueueName> {
        let paused = self.names();
        queues
            .iter()
            .filter(|name| !paused.contains(*name))
            .cloned()
            .collect()
    }

    /// Waits until a queue is resumed after this call. The future counts from the call and not from its first
    /// poll, so a caller that creates it before [`Self::leave_out`] and awaits it after misses no resume.
    pub(crate) fn resumed(&self) -> Notified<'_> {
        self.removed.notified()
    }

    /// Checks each second, while queues are paused, for those that were resumed.
    pub(crate) async fn watch(&self, db: &PgPool, stop: &CancellationToken) {
        loop {
            let wake = async {
                while self.count() == 0 {
                    self.added.notified().await;
                }
                tokio::time::sleep(CHECK).await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = wake => {}
            }
            // read after the wait, and removed by name below: a queue that a claim adds during the statement
            // was not asked about and must not count as resumed
            let asked: Vec<QueueName> = self.names().iter().cloned().collect();
            match store::bounded(STATEMENT_MAX, store::queues::paused(db, &asked)).await {
                Ok(still) => self.remove(asked.iter().filter(|name| !still.contains(name))),
                Err(error) => warn!(%error, "failed to check for resumed queues"),
            }
        }
    }

    /// Removes queues that were resumed. Those that claims reported meanwhile stay.
    fn remove<'a>(&self, resumed: impl Iterator<Item = &'a QueueName>) {
        let mut names = self.names();
        let before = names.len();
        for name in resumed {
            if names.remove(name) {
                info!(queue = %name, "queue resumed; claiming from it again");
            }
        }
        if names.len() < before {
            self.removed.notify_waiters();
        }
    }

    fn names(&self) -> MutexGuard<'_, HashSet<QueueName>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_resume_between_the_check_and_the_wait_is_not_missed() {
        let paused = Paused::default();
        let queue = QueueName::default_class();
        paused.add(&HashSet::from([queue.clone()]));
        let resumed = paused.resumed();
        assert!(paused.leave_out(std::slice::from_ref(&queue)).is_empty());
        paused.remove(std::iter::once(&queue));
        tokio::time::timeout(CHECK, resumed)
            .await
            .expect("the resume is noticed");
        assert_eq!(paused.leave_out(std::slice::from_ref(&queue)), [queue]);
    }
}
