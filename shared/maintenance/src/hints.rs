//! The sender of wake-up hints, as the duties use it.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use tasker_core::task::Hint;

/// Pushes the hints of committed rows to Redis. Failures are its own to report: a lost hint only delays a
/// task.
pub trait HintSender: Debug + Send + Sync {
    /// Pushes hints to the tails of their lists, in the order of their ids.
    fn push(&self, hints: Vec<Hint>) -> BoxFuture<'_, ()>;

    /// Pushes the hints of requeued rows to the heads of their lists; the first one given is popped first.
    fn push_front(&self, hints: Vec<Hint>) -> BoxFuture<'_, ()>;
}
