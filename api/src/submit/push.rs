//! Pushes and removes wake-up hints after the commit. A failure is logged and counted, and never fails the
//! request.

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::Hint;
use tasker_platform::lifecycle::Shutdown;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::redis::RedisHealth;

/// Maximum wait for a push, which usually takes a thousandth of it. A slower one continues in the background,
/// so that a Redis that hangs does not delay submits.
const PUSH_WAIT_MAX: Duration = Duration::from_millis(250);
/// Maximum number of concurrent pushes. Further ones are skipped: the polling fallback finds the rows.
const PUSHES_MAX: usize = 8;

/// The sender of hints to Redis.
#[derive(Debug)]
pub struct Pusher {
    redis: Option<(Arc<RedisHealth>, Shutdown)>,
    permits: Arc<Semaphore>,
}

/// A change to the lists.
#[derive(Debug, Clone, Copy)]
enum Change {
    PushFront,
    PushBack,
    Remove,
}

impl Pusher {
    /// Creates a pusher; `None` (`PollingOnly`) makes every call a no-op. Pushes are background tasks of the
    /// `Shutdown`.
    pub fn new(redis: Option<(Arc<RedisHealth>, Shutdown)>) -> Self {
        Self {
            redis,
            permits: Arc::new(Semaphore::new(PUSHES_MAX)),
        }
    }

    /// Pushes the ids of rows that were just committed to the tails of their lists, in the order of the ids.
    pub async fn push(&self, mut hints: Vec<Hint>) {
        // ids are UUIDv7, so this is the order of submission
        hints.sort_unstable();
        self.change(Change::PushBack, hints).await;
    }

    /// Pushes the ids of requeued rows to the heads of their lists; the first one given is popped first.
    pub async fn push_front(&self, hints: Vec<Hint>) {
        self.change(Change::PushFront, hints).await;
    }

    /// Removes the hints of tasks that are not pending any more. The leader removes those that this call
    /// misses.
    pub async fn remove(&self, hints: Vec<Hint>) {
        self.change(Change::Remove, hints).await;
    }

    async fn change(&self, change: Change, hints: Vec<Hint>) {
        let Some((redis, shutdown)) = &self.redis else {
            return;
        };
        if hints.is_empty() {
            return;
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let (Ok(permit), true) = (permit, redis.is_usable()) else {
            redis.breaker().refused();
            // removals are not counted: a stale hint is dropped by the worker that pops it
            if !matches!(change, Change::Remove) {
                metrics::counter!("tasker_pushes_skipped_total").increment(hints.len() as u64);
            }
            return;
        };
        let redis = Arc::clone(redis);
        let push = shutdown.spawn_named("push", async move {
            let _permit = permit;
            carry_out(&redis, change, &hints).await;
        });
        // a timeout drops only the handle, the push continues
        let _ = tokio::time::timeout(PUSH_WAIT_MAX, push).await;
    }
}

async fn carry_out(redis: &RedisHealth, change: Change, hints: &[Hint]) {
    let done = redis.ask(async |queue| match change {
        Change::PushBack => queue.push_back(hints).await,
        Change::PushFront => queue.push_front(hints).await,
        Change::Remove => queue.remove(hints).await,
    });
    let done = done.await.is_some();
    if matches!(change, Change::Remove) {
        return;
    }
    if done {
        metrics::counter!("tasker_pushed_hints_total").increment(hints.len() as u64);
    } else {
        metrics::counter!("tasker_push_failures_total").increment(hints.len() as u64);
        warn!(
            tasks = hints.len(),
            "could not push hints of stored tasks; the polling fallback finds the tasks"
        );
    }
}
