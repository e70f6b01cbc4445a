//! A sender of hints for duties whose hints do not matter.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tasker_core::task::Hint;
use tasker_maintenance::HintSender;

/// Drops all hints, as a server without Redis does.
#[derive(Debug)]
pub(crate) struct NoHints;

impl HintSender for NoHints {
    fn push(&self, _: Vec<Hint>) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn push_front(&self, _: Vec<Hint>) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}
