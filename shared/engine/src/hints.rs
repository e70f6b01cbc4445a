//! The hints of this worker: Redis as it reaches it, and the return of hints that it popped.

use std::sync::Arc;

use tasker_core::task::TaskStatus;
use tasker_queue::{Hint, HintPusher, ListEnd, PushTarget, RedisQueues};
use tasker_store::end_runs::Ended;
use tracing::warn;

use crate::availability::Availability;

/// Redis with its availability.
#[derive(Debug, Clone)]
pub(crate) struct Redis {
    pub(crate) queue: Arc<RedisQueues>,
    pub(crate) availability: Arc<Availability>,
}

/// Returns hints to their lists. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Hints {
    pusher: HintPusher<Redis>,
    uses_redis: bool,
}

impl PushTarget for Redis {
    fn is_available(&self) -> bool {
        self.availability.is_available()
    }

    async fn push(&self, end: ListEnd, hints: &[Hint]) -> bool {
        let pushed = self.queue.push(end, hints).await;
        if let Err(error) = &pushed {
            warn!(%error, hints = hints.len(), "failed to push hints again; fallback polls find their tasks");
        }
        pushed.is_ok()
    }
}

impl Hints {
    /// Returns the hints of a worker whose dispatch mode uses Redis, or not.
    pub(crate) fn new(redis: Redis, uses_redis: bool) -> Self {
        Self {
            pusher: HintPusher::new(redis),
            uses_redis,
        }
    }

    /// Returns the lists.
    pub(crate) fn queue(&self) -> &Arc<RedisQueues> {
        &self.pusher.target().queue
    }

    /// Returns true if the mode uses Redis and Redis is available.
    pub(crate) fn reach_redis(&self) -> bool {
        self.uses_redis && self.pusher.target().is_available()
    }

    /// Pushes the hints of tasks that became pending: urgent ones to the heads of their lists, others to the
    /// tails.
    pub(crate) async fn push(&self, hints: &[Hint]) {
        if self.uses_redis {
            self.pusher.push(ListEnd::Tail, hints).await;
        }
    }

    /// Pushes hints to the heads of their lists.
    pub(crate) async fn return_hints(&self, hints: &[Hint]) {
        if self.uses_redis {
            self.pusher.return_to_head(hints).await;
        }
    }

    /// Pushes the hints of the ended runs whose tasks are pending again.
    pub(crate) async fn return_pending(&self, ended: Vec<Ended>) {
        let pending = ended
            .into_iter()
            .filter(|ended| ended.status == TaskStatus::Pending);
        let hint = |ended: Ended| Hint::new(ended.id, ended.queue, ended.task_name);
        let hints: Vec<Hint> = pending.map(hint).collect();
        self.return_hints(&hints).await;
    }
}
