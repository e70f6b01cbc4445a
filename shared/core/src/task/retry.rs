//! The decision after a failed attempt: retry or dead letter. Pure: the jitter is an argument.

use std::time::Duration;

use strum::{Display, EnumString, IntoStaticStr, VariantNames};

use super::limits;

/// The wait before the next attempt: exponential with full jitter, so that tasks that failed together are not
/// retried together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Maximum wait before the second attempt; it doubles with each further attempt.
    pub base: Duration,
    /// Maximum wait of all attempts; at most a year.
    pub cap: Duration,
}

/// Retries of a task type that sets no number. With the default backoff they take four hours on average and
/// eight and a half at most, which is longer than most outages of what a handler calls.
pub const DEFAULT_MAX_RETRIES: u32 = 10;

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(30),
            cap: Duration::from_hours(6),
        }
    }
}

impl Backoff {
    /// A short backoff that begins with seconds. The built-in task types use it.
    pub const QUICK: Self = Self {
        base: Duration::from_secs(1),
        cap: Duration::from_hours(1),
    };

    /// Returns the wait after `ended` attempts (1 after the first): uniform over 0 to `base` · 2^(`ended` −
    /// 1), at most `cap`. `jitter` is a random number from 0 to 1.
    pub fn delay(&self, ended: u32, jitter: f64) -> Duration {
        // 2^62 times any base exceeds every cap, and a larger number of attempts could turn negative as `i32`
        let doublings = ended.saturating_sub(1).min(62);
        let longest = self.base.as_secs_f64() * 2f64.powi(doublings.cast_signed());
        let capped = longest.min(self.cap.min(limits::DELAY).as_secs_f64());
        Duration::from_secs_f64(capped * jitter.clamp(0.0, 1.0))
    }
}

/// The way an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The handler failed and may be retried.
    Retry,
    /// The handler failed and set the time until the retry.
    RetryAfter(Duration),
    /// The handler failed and asked not to be retried.
    Fail,
    /// The attempt ran longer than its timeout.
    Timeout,
}

/// The reason why a task is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum DeadLetterReason {
    /// The last attempt failed.
    Exhausted,
    /// The handler asked not to be retried.
    Failed,
    /// The last attempt timed out.
    Timeout,
    /// It crashes the workers that run it.
    CrashLoop,
}

impl DeadLetterReason {
    /// The names of all reasons.
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    /// Returns the reason of that name.
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Returns the name in the table, in the HTTP API and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The decision about a task whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Retry after this time.
    RetryIn(Duration),
    /// Make it a dead letter.
    DeadLetter(DeadLetterReason),
}

/// Decides between a retry and a dead letter after `failure` of attempt `attempt` (counted from 1) out of
/// `max_attempts`. `delay` returns the wait until the next attempt, unless the handler set one.
pub fn decide(
    failure: Failure,
    attempt: i32,
    max_attempts: i32,
    delay: impl FnOnce() -> Duration,
) -> Decision {
    if failure == Failure::Fail {
        return Decision::DeadLetter(DeadLetterReason::Failed);
    }
    if attempt >= max_attempts {
        return Decision::DeadLetter(match failure {
            Failure::Timeout => DeadLetterReason::Timeout,
            _ => DeadLetterReason::Exhausted,
        });
    }
    Decision::RetryIn(match failure {
        // without jitter: the handler knows when the service it calls is available again
        Failure::RetryAfter(delay) => delay.min(limits::DELAY),
        _ => delay(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_mins(1),
    };

    #[test]
    fn the_longest_wait_doubles_up_to_the_cap() {
        let longest: Vec<u64> = (1..=8).map(|ended| BACKOFF.delay(ended, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn the_default_retries_span_hours_and_the_quick_ones_seconds() {
        let span = |backoff: Backoff, retries: u32, jitter: f64| -> u64 {
            (1..=retries)
                .map(|ended| backoff.delay(ended, jitter).as_secs())
                .sum()
        };
        let hours = |jitter| span(Backoff::default(), DEFAULT_MAX_RETRIES, jitter) / 3600;
        assert_eq!((hours(0.5), hours(1.0)), (4, 8));
        assert_eq!(span(Backoff::QUICK, 3, 1.0), 7);
        let longest: Vec<u64> = (1..=12)
            .map(|ended| Backoff::default().delay(ended, 1.0).as_secs())
            .collect();
        assert_eq!(
            longest,
            [30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600]
        );
    }

    #[test]
    fn the_last_attempt_ends_as_a_dead_letter_that_says_why() {
        let last = |failure| decide(failure, 3, 3, || BACKOFF.delay(1, 0.5));
        assert_eq!(
            last(Failure::Retry),
            Decision::DeadLetter(DeadLetterReason::Exhausted)
        );
        assert_eq!(
            last(Failure::Timeout),
            Decision::DeadLetter(DeadLetterReason::Timeout)
        );
        assert_eq!(
            last(Failure::Fail),
            Decision::DeadLetter(DeadLetterReason::Failed)
        );
    }

    #[test]
    fn a_handler_may_say_when_to_try_again_but_not_how_often() {
        let wait = Duration::from_mins(10);
        assert_eq!(
            decide(Failure::RetryAfter(wait), 1, 3, || BACKOFF.delay(1, 0.5)),
            Decision::RetryIn(wait)
        );
        assert!(matches!(
            decide(Failure::RetryAfter(wait), 3, 3, || BACKOFF.delay(1, 0.5)),
            Decision::DeadLetter(_)
        ));
    }

    #[test]
    fn no_handler_delays_its_retry_for_more_than_a_year() {
        let decision = decide(Failure::RetryAfter(Duration::MAX), 1, 3, || BACKOFF.delay(1, 0.5));
        assert_eq!(decision, Decision::RetryIn(limits::DELAY));
        let endless = Backoff {
            base: Duration::MAX,
            cap: Duration::MAX,
        };
        assert_eq!(endless.delay(1, 1.0), limits::DELAY);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_cap(ended in 0u32.., jitter in -1.0f64..2.0) {
            prop_assert!(BACKOFF.delay(ended, jitter) <= BACKOFF.cap);
        }
    }
}
