//! Pushes and removes wake-up hints after the commit. A failure is logged and counted, and never fails the
//! request.

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::Hint;
use tasker_platform::lifecycle::Shutdown;
use tasker_queue::{HintPusher, ListEnd, PushOutcome, PushTarget};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::redis::RedisHealth;

/// Maximum wait for a push, which usually takes a thousandth of it. A slower one continues in the background,
/// so that a Redis that hangs does not delay submits.
const PUSH_WAIT_MAX: Duration = Duration::from_millis(250);
/// Maximum number of concurrent pushes. Further ones wait for their turn, as long as a push may take; then
/// they are skipped, and the polling fallback finds the rows.
const PUSHES_MAX: usize = 8;

/// The sender of hints to Redis.
#[derive(Debug)]
pub struct Pusher {
    redis: Option<(HintPusher<GuardedRedis>, Shutdown)>,
    permits: Arc<Semaphore>,
}

/// A change to the lists.
#[derive(Debug, Clone, Copy)]
enum Change {
    Push(ListEnd),
    Remove,
}

/// Redis behind its circuit breaker, which learns from every push.
#[derive(Debug, Clone)]
struct GuardedRedis(Arc<RedisHealth>);

impl PushTarget for GuardedRedis {
    fn is_available(&self) -> bool {
        self.0.is_usable()
    }

    async fn push(&self, end: ListEnd, hints: &[Hint]) -> bool {
        let pushed = self.0.ask(async |queue| queue.push(end, hints).await);
        pushed.await.is_some()
    }
}

impl Pusher {
    /// Creates a pusher; `None` (`PollingOnly`) makes every call a no-op. Pushes are background tasks of the
    /// `Shutdown`.
    pub fn new(redis: Option<(Arc<RedisHealth>, Shutdown)>) -> Self {
        let guarded = |(redis, shutdown)| (HintPusher::new(GuardedRedis(redis)), shutdown);
        Self {
            redis: redis.map(guarded),
            permits: Arc::new(Semaphore::new(PUSHES_MAX)),
        }
    }

    /// Pushes the ids of rows that were just committed to the tails of their lists, in the order of the ids.
    pub async fn push(&self, mut hints: Vec<Hint>) {
        // ids are UUIDv7, so this is the order of submission
        hints.sort_unstable();
        self.change(Change::Push(ListEnd::Tail), hints).await;
    }

    /// Pushes the ids of requeued rows to the heads of their lists; the first one given is popped first.
    pub async fn push_front(&self, hints: Vec<Hint>) {
        self.change(Change::Push(ListEnd::Head), hints).await;
    }

    /// Removes the hints of tasks that are not pending any more. The leader removes those that this call
    /// misses.
    pub async fn remove(&self, hints: Vec<Hint>) {
        self.change(Change::Remove, hints).await;
    }

    /// Waits for a turn to push; `None` if Redis is unavailable or too slow. Flushes push for many requests
    /// at once and rarely wait; requests that push for themselves, such as starts of workflows, come in
    /// crowds.
    async fn turn(&self, redis: &RedisHealth) -> Option<OwnedSemaphorePermit> {
        if !redis.is_usable() {
            return None;
        }
        let turn = Arc::clone(&self.permits).acquire_owned();
        tokio::time::timeout(PUSH_WAIT_MAX, turn).await.ok()?.ok()
    }

    async fn change(&self, change: Change, hints: Vec<Hint>) {
        let Some((pusher, shutdown)) = &self.redis else {
            return;
        };
        if hints.is_empty() {
            return;
        }
        let redis = &pusher.target().0;
        let Some(permit) = self.turn(redis).await else {
            redis.breaker().refused();
            // removals are not counted: a stale hint is dropped by the worker that pops it
            if !matches!(change, Change::Remove) {
                pusher.skip(&hints);
            }
            return;
        };
        let pusher = pusher.clone();
        let push = shutdown.spawn_named("push", async move {
            let _permit = permit;
            carry_out(&pusher, change, &hints).await;
        });
        // a timeout drops only the handle, the push continues
        let _ = tokio::time::timeout(PUSH_WAIT_MAX, push).await;
    }
}

async fn carry_out(pusher: &HintPusher<GuardedRedis>, change: Change, hints: &[Hint]) {
    match change {
        Change::Push(end) => {
            if pusher.push(end, hints).await == PushOutcome::Failed {
                warn!(
                    tasks = hints.len(),
                    "could not push hints of stored tasks; the polling fallback finds the tasks"
                );
            }
        }
        Change::Remove => {
            let removed = pusher.target().0.ask(async |queue| queue.remove(hints).await);
            removed.await;
        }
    }
}
