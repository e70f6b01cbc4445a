//! Pushes of hints that may be left out: while Redis is unavailable they are skipped, and a failure is only
//! counted, since the polling fallback finds rows without hints.

use metrics::counter;

use super::{RedisQueues, Result};
use tasker_core::task::Hint;

/// The end of a list that hints are pushed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListEnd {
    /// These hints are popped first.
    Head,
    /// These hints are popped last.
    Tail,
}

/// Redis as a [`HintPusher`] reaches it.
pub trait PushTarget: Send + Sync {
    /// Returns true if commands may be sent to Redis.
    fn is_available(&self) -> bool;

    /// Pushes hints. Returns false if that failed; the cause is logged.
    fn push(&self, end: ListEnd, hints: &[Hint]) -> impl Future<Output = bool> + Send;
}

/// The outcome of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// The hints are in their lists, or there were none.
    Pushed,
    /// Redis is unavailable.
    Skipped,
    /// Redis did not accept them.
    Failed,
}

/// Pushes hints and counts those that were pushed, skipped or lost.
#[derive(Debug, Clone)]
pub struct HintPusher<T> {
    target: T,
}

impl<T: PushTarget> HintPusher<T> {
    /// Creates a pusher.
    pub fn new(target: T) -> Self {
        Self { target }
    }

    /// Returns the target of the pushes.
    pub fn target(&self) -> &T {
        &self.target
    }

    /// Pushes new hints and counts them as pushed.
    pub async fn push(&self, end: ListEnd, hints: &[Hint]) -> PushOutcome {
        let outcome = self.send(end, hints).await;
        if outcome == PushOutcome::Pushed {
            counter!("tasker_pushed_hints_total").increment(hints.len() as u64);
        }
        outcome
    }

    /// Pushes hints that a worker popped, or whose runs it released, to the heads of their lists. They were
    /// counted as pushed before.
    pub async fn return_to_head(&self, hints: &[Hint]) -> PushOutcome {
        self.send(ListEnd::Head, hints).await
    }

    /// Counts hints that are not pushed because Redis is unavailable or slow.
    pub fn skip(&self, hints: &[Hint]) -> PushOutcome {
        counter!("tasker_pushes_skipped_total").increment(hints.len() as u64);
        PushOutcome::Skipped
    }

    async fn send(&self, end: ListEnd, hints: &[Hint]) -> PushOutcome {
        if hints.is_empty() {
            return PushOutcome::Pushed;
        }
        if !self.target.is_available() {
            return self.skip(hints);
        }
        if self.target.push(end, hints).await {
            return PushOutcome::Pushed;
        }
        counter!("tasker_push_failures_total").increment(hints.len() as u64);
        PushOutcome::Failed
    }
}

impl RedisQueues {
    /// Pushes hints to one end of their lists, in one round trip; the first given is popped first.
    pub async fn push(&self, end: ListEnd, hints: &[Hint]) -> Result<()> {
        match end {
            ListEnd::Head => self.push_front(hints).await,
            ListEnd::Tail => self.push_back(hints).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tasker_core::task::{QueueName, TaskId};

    use super::*;

    #[derive(Default)]
    struct Target {
        available: bool,
        accepts: bool,
        pushes: AtomicUsize,
    }

    impl PushTarget for Target {
        fn is_available(&self) -> bool {
            self.available
        }

        async fn push(&self, _: ListEnd, _: &[Hint]) -> bool {
            self.pushes.fetch_add(1, Ordering::Relaxed);
            self.accepts
        }
    }

    fn hints() -> [Hint; 1] {
        [Hint::of_id(TaskId::generate(), QueueName::default_class())]
    }

    #[tokio::test]
    async fn an_unavailable_redis_receives_no_push() {
        let pusher = HintPusher::new(Target::default());
        assert_eq!(pusher.push(ListEnd::Tail, &hints()).await, PushOutcome::Skipped);
        assert_eq!(pusher.return_to_head(&hints()).await, PushOutcome::Skipped);
        assert_eq!(pusher.target().pushes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_push_that_redis_refuses_has_failed() {
        let pusher = HintPusher::new(Target {
            available: true,
            ..Target::default()
        });
        assert_eq!(pusher.push(ListEnd::Tail, &hints()).await, PushOutcome::Failed);
        assert_eq!(pusher.push(ListEnd::Tail, &[]).await, PushOutcome::Pushed);
        assert_eq!(pusher.target().pushes.load(Ordering::Relaxed), 1);
    }
}
