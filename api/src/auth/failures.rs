//! A limiter of failed sign-ins, which stops the guessing of passwords and keys.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The length of a counting window, and so the maximum lock-out.
pub const WINDOW: Duration = Duration::from_mins(1);
/// The maximum number of windows in memory. Beyond it the keys that are not locked out are dropped first, so
/// that a caller cannot end its own lock-out by failing under many other keys.
const REMEMBERED_MAX: usize = 20_000;

/// Failed attempts counted by `K`, a client address or a user name.
#[derive(Debug)]
pub struct Failures<K> {
    max_failures: u32,
    windows: Mutex<HashMap<K, Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    failures: u32,
    ends: Instant,
}

impl<K: Eq + Hash> Failures<K> {
    /// Allows `max_failures` failures in a [`WINDOW`].
    pub fn new(max_failures: u32) -> Self {
        Self {
            max_failures,
            windows: Mutex::default(),
        }
    }

    /// Returns the time until `who` may try again, or `None` if it may now.
    pub fn locked(&self, who: &K, now: Instant) -> Option<Duration> {
        let windows = self.windows();
        let window = windows
            .get(who)
            .filter(|window| window.failures >= self.max_failures)?;
        window
            .ends
            .checked_duration_since(now)
            // the window ends at this very moment
            .filter(|wait| !wait.is_zero())
    }

    /// Records a failure of `who`.
    pub fn note(&self, who: K, now: Instant) {
        let mut windows = self.windows();
        if windows.len() >= REMEMBERED_MAX && !windows.contains_key(&who) {
            windows.retain(|_, window| window.ends > now);
            if windows.len() >= REMEMBERED_MAX {
                // all windows are current, so drop those that are not locked out; only if every one is locked
                // out start again from empty
                windows.retain(|_, window| window.failures >= self.max_failures);
            }
            if windows.len() >= REMEMBERED_MAX {
                windows.clear();
            }
        }
        // a fixed window that begins with the first failure: later failures do not extend the lock-out
        let fresh = Window {
            failures: 0,
            ends: now + WINDOW,
        };
        let window = windows.entry(who).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        window.failures = window.failures.saturating_add(1);
    }

    /// Removes the windows that have ended.
    pub fn sweep(&self, now: Instant) {
        let mut windows = self.windows();
        windows.retain(|_, window| window.ends > now);
        windows.shrink_to(64);
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<K, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_so_many_failures_one_waits_for_the_end_of_the_window() {
        let (failures, began) = (Failures::new(3), Instant::now());
        for _ in 0..3 {
            assert_eq!(failures.locked(&"a", began), None);
            failures.note("a", began);
        }
        assert_eq!(failures.locked(&"a", began), Some(WINDOW));
        assert_eq!(failures.locked(&"b", began), None, "others are not held to it");
        let later = began + WINDOW;
        assert_eq!(failures.locked(&"a", later), None);
        failures.note("a", later);
        assert_eq!(failures.locked(&"a", later), None, "an old window does not count");
    }

    #[test]
    fn who_is_locked_out_stays_so_whoever_else_fails() {
        let (failures, now) = (Failures::new(2), Instant::now());
        failures.note(usize::MAX, now);
        failures.note(usize::MAX, now);
        for who in 0..2 * REMEMBERED_MAX {
            failures.note(who, now);
        }
        assert!(failures.locked(&usize::MAX, now).is_some());
        assert!(failures.windows().len() <= REMEMBERED_MAX);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (failures, now) = (Failures::new(1), Instant::now());
        for who in 0..=REMEMBERED_MAX {
            failures.note(who, now);
        }
        assert!(failures.windows().len() <= REMEMBERED_MAX);
        failures.sweep(now + WINDOW);
        assert!(failures.windows().is_empty());
    }
}
