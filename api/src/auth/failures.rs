//! Sign-ins that failed, counted by who tried, so that nobody guesses for long.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long failures are counted together, and so how long one has to wait at most.
pub const WINDOW: Duration = Duration::from_mins(1);
/// Most who are remembered. Beyond that those who may still try are forgotten first, so that nobody frees themselves, or a
/// name, by failing under many others.
const REMEMBERED_MAX: usize = 20_000;

/// Failures by `K`.
#[derive(Debug)]
pub struct Failures<K> {
    most: u32,
    windows: Mutex<HashMap<K, Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    failures: u32,
    ends: Instant,
}

impl<K: Eq + Hash> Failures<K> {
    /// Allows `most` failures in a [`WINDOW`].
    pub fn new(most: u32) -> Self {
        Self {
            most,
            windows: Mutex::default(),
        }
    }

    /// How long `who` may not try again; nothing if they may.
    pub fn locked(&self, who: &K, now: Instant) -> Option<Duration> {
        let windows = self.windows();
        let window = windows.get(who).filter(|window| window.failures >= self.most)?;
        window
            .ends
            .checked_duration_since(now)
            .filter(|wait| !wait.is_zero())
    }

    /// Counts a failure of `who`.
    pub fn note(&self, who: K, now: Instant) {
        let mut windows = self.windows();
        if windows.len() >= REMEMBERED_MAX && !windows.contains_key(&who) {
            windows.retain(|_, window| window.ends > now);
            if windows.len() >= REMEMBERED_MAX {
                windows.retain(|_, window| window.failures >= self.most);
            }
            if windows.len() >= REMEMBERED_MAX {
                windows.clear();
            }
        }
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

    /// Forgets what is over.
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
