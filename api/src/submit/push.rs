//! Hints are pushed and removed after the commit, never before it, and never a reason to fail.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::lifecycle::Shutdown;
use tasker_shared::task::Hint;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::redis::RedisHealth;

/// How long a push is waited for: a sound one takes a thousandth of it. One that takes longer goes on by itself, since nobody
/// who submits shall wait for a Redis that hangs.
const PATIENCE: Duration = Duration::from_millis(250);
/// Pushes on their way at once. Further ones are left out: the net finds the rows.
const PUSHES_MAX: usize = 8;

/// Pushes hints as long as Redis answers.
#[derive(Debug)]
pub struct Pusher {
    redis: Option<(Arc<RedisHealth>, Shutdown)>,
    places: Arc<Semaphore>,
}

/// A change of the lists.
#[derive(Debug, Clone, Copy)]
enum Change {
    PushFront,
    PushBack,
    Remove,
}

impl Pusher {
    /// Without Redis (`PollingOnly`) nothing is pushed. Pushes are owned by the tracker of the `Shutdown`.
    pub fn new(redis: Option<(Arc<RedisHealth>, Shutdown)>) -> Self {
        Self {
            redis,
            places: Arc::new(Semaphore::new(PUSHES_MAX)),
        }
    }

    /// Puts the ids of rows that were just committed on the tails of their lists, in the order of the ids.
    pub async fn push(&self, mut hints: Vec<Hint>) {
        hints.sort_unstable();
        self.change(Change::PushBack, hints).await;
    }

    /// Puts the ids of rows that go back on the heads of their lists; the first given is popped first.
    pub async fn push_front(&self, hints: Vec<Hint>) {
        self.change(Change::PushFront, hints).await;
    }

    /// Removes the hints of tasks that no longer wait. What this misses the leader removes.
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
        let place = Arc::clone(&self.places).try_acquire_owned();
        let (Ok(place), true) = (place, redis.is_usable()) else {
            redis.breaker().refused();
            if !matches!(change, Change::Remove) {
                metrics::counter!("tasker_pushes_skipped_total").increment(hints.len() as u64);
            }
            return;
        };
        let redis = Arc::clone(redis);
        let push = shutdown.spawn_named("push", async move {
            let _place = place;
            carry_out(&redis, change, &hints).await;
        });
        // one that takes longer goes on
        let _ = tokio::time::timeout(PATIENCE, push).await;
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
            "tasks were stored, but not announced on their lists; the net finds them"
        );
    }
}
