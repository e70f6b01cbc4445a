//! The retries of a step.

use std::time::Duration;

use serde::Serialize;
use strum::{Display, EnumIter, EnumString, IntoStaticStr, VariantNames};

use crate::limits;

/// The retry settings of a step, as in the source format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Maximum number of attempts, the first one included.
    pub max_attempts: u32,
    /// The growth of the wait between attempts.
    pub backoff: Backoff,
    /// The first wait, in milliseconds.
    pub backoff_base_ms: u64,
    /// The maximum wait, in milliseconds.
    pub max_backoff_ms: u64,
    /// False if it is never retried.
    pub retryable: bool,
}

/// The growth of the wait between attempts.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Backoff {
    /// No wait.
    None,
    /// Grows by the base each time.
    Linear,
    /// Doubles each time.
    Exponential,
    /// Grows like the Fibonacci numbers: 1, 1, 2, 3, 5 times the base.
    Fibonacci,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::Exponential,
            backoff_base_ms: 1_000,
            max_backoff_ms: 30_000,
            retryable: true,
        }
    }
}

impl Backoff {
    /// The names of all kinds.
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    /// Returns the factor of the wait after `ended` attempts.
    fn factor(self, ended: u32) -> u64 {
        match self {
            Self::None => 0,
            Self::Linear => u64::from(ended),
            Self::Exponential => 1_u64.checked_shl(ended.saturating_sub(1)).unwrap_or(u64::MAX),
            Self::Fibonacci => {
                let (mut previous, mut current) = (0_u64, 1_u64);
                for _ in 1..ended.min(limits::ATTEMPTS) {
                    (previous, current) = (current, previous.saturating_add(current));
                }
                current
            }
        }
    }
}

impl Retry {
    /// Returns the number of attempts that the task of the step gets.
    pub fn attempts(&self) -> u32 {
        if self.retryable { self.max_attempts } else { 1 }
    }

    /// Returns the maximum wait after `ended` attempts (1 after the first).
    pub fn longest_wait(&self, ended: u32) -> Duration {
        let milliseconds = self
            .backoff_base_ms
            .saturating_mul(self.backoff.factor(ended.max(1)));
        Duration::from_millis(milliseconds.min(self.max_backoff_ms)).min(limits::TIMEOUT)
    }

    /// Returns the wait after `ended` attempts: 0.9 to 1.1 times [`Retry::longest_wait`] by `jitter`, a
    /// random number from 0 to 1, and never above the maximum.
    pub fn wait(&self, ended: u32, jitter: f64) -> Duration {
        let factor = 0.9 + 0.2 * jitter.clamp(0.0, 1.0);
        let maximum = Duration::from_millis(self.max_backoff_ms).min(limits::TIMEOUT);
        self.longest_wait(ended).mul_f64(factor).min(maximum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(backoff: Backoff) -> Vec<u64> {
        let retry = Retry {
            backoff,
            ..Retry::default()
        };
        let seconds = |ended| retry.longest_wait(ended).as_secs();
        (1..=7).map(seconds).collect()
    }

    #[test]
    fn each_kind_of_backoff_grows_as_it_says_up_to_the_maximum() {
        assert_eq!(waits(Backoff::None), [0; 7]);
        assert_eq!(waits(Backoff::Linear), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(waits(Backoff::Exponential), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(waits(Backoff::Fibonacci), [1, 1, 2, 3, 5, 8, 13]);
    }

    #[test]
    fn a_wait_varies_by_a_tenth_and_stays_within_the_maximum() {
        let retry = Retry::default();
        assert_eq!(retry.wait(1, 0.0), Duration::from_millis(900));
        assert_eq!(retry.wait(1, 1.0), Duration::from_millis(1_100));
        assert_eq!(retry.wait(100, 1.0), Duration::from_secs(30));
        assert_eq!(retry.wait(u32::MAX, 0.0).as_secs(), 27);
    }

    #[test]
    fn a_step_that_is_not_retryable_gets_one_attempt() {
        let retry = Retry {
            retryable: false,
            ..Retry::default()
        };
        assert_eq!((retry.attempts(), Retry::default().attempts()), (1, 3));
    }
}
