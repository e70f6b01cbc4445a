//! The times of the last pop and the last claim, from which readiness is derived.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A pop or a claim counts as recent for this long: ten times what an empty pop takes.
const RECENT: Duration = Duration::from_secs(10);
/// The stored time that means "never".
const NEVER: u64 = u64::MAX;

/// The last answers that a worker received to its pops and claims.
#[derive(Debug)]
pub(crate) struct Activity {
    began: Instant,
    popped_at: AtomicU64,
    claimed_at: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            popped_at: AtomicU64::new(NEVER),
            claimed_at: AtomicU64::new(NEVER),
        }
    }
}

impl Activity {
    /// Records that a pop was answered, also an empty one.
    pub(crate) fn popped(&self) {
        self.popped_at.store(self.now(), Ordering::Relaxed);
    }

    /// Records that a claim was answered.
    pub(crate) fn claimed(&self) {
        self.claimed_at.store(self.now(), Ordering::Relaxed);
    }

    /// Returns true if a pop or a claim was answered recently.
    pub(crate) fn is_recent(&self) -> bool {
        let recent = |at: &AtomicU64| match at.load(Ordering::Relaxed) {
            NEVER => false,
            at => u128::from(self.now().saturating_sub(at)) <= RECENT.as_millis(),
        };
        recent(&self.popped_at) || recent(&self.claimed_at)
    }

    /// Returns the time since the worker began.
    pub(crate) fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.uptime().as_millis()).unwrap_or(NEVER - 1)
    }
}
