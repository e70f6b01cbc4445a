//! What happens after an attempt that did not succeed. Pure: the jitter is an argument.

use std::fmt;
use std::time::Duration;

use super::limits;

/// How long to wait before the next try: exponential, with full jitter, so that tasks that failed together
/// do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the second try; it doubles with each further try.
    pub base: Duration,
    /// The longest wait of all; a year at most.
    pub cap: Duration,
}

/// Retries of a task type that sets none. With the default backoff they take four hours on average and eight
/// and a half at most, which is longer than most outages of what a handler calls.
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
    /// The backoff of tasks that fail quickly and for good: seconds at first. The built-in task types have
    /// it.
    pub const QUICK: Self = Self {
        base: Duration::from_secs(1),
        cap: Duration::from_hours(1),
    };

    /// The wait after `ended` attempts (1 after the first): uniform over 0 to `base` · 2^(`ended` − 1), at
    /// most `cap`. `jitter` is a random number of 0 to 1.
    pub fn delay(&self, ended: u32, jitter: f64) -> Duration {
        let doublings = ended.saturating_sub(1).min(62);
        let longest = self.base.as_secs_f64() * 2f64.powi(doublings.cast_signed());
        let capped = longest.min(self.cap.min(limits::DELAY).as_secs_f64());
        Duration::from_secs_f64(capped * jitter.clamp(0.0, 1.0))
    }
}

/// How an attempt went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The handler failed and may be tried again.
    Retry,
    /// The handler failed and says itself when to try again.
    RetryAfter(Duration),
    /// The handler failed and asks not to be tried again.
    Fail,
    /// The attempt ran longer than its timeout.
    Timeout,
}

/// Why a task is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadLetterReason {
    /// The last try failed.
    Exhausted,
    /// The handler asked not to be tried again.
    Failed,
    /// The last try timed out.
    Timeout,
    /// It kills the workers that run it.
    CrashLoop,
}

impl DeadLetterReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Exhausted, Self::Failed, Self::Timeout, Self::CrashLoop];

    /// The reason of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The name in the table, over HTTP and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::CrashLoop => "crash_loop",
        }
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to do with a task whose attempt went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after this long.
    RetryIn(Duration),
    /// Give up.
    DeadLetter(DeadLetterReason),
}

/// Decides what follows `failure` of attempt `attempt` (counted from 1) out of `max_attempts`.
pub fn decide(failure: Failure, attempt: i32, max_attempts: i32, backoff: Backoff, jitter: f64) -> Decision {
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
        Failure::RetryAfter(delay) => delay.min(limits::DELAY),
        _ => backoff.delay(attempt.unsigned_abs(), jitter),
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
        let last = |failure| decide(failure, 3, 3, BACKOFF, 0.5);
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
            decide(Failure::RetryAfter(wait), 1, 3, BACKOFF, 0.5),
            Decision::RetryIn(wait)
        );
        assert!(matches!(
            decide(Failure::RetryAfter(wait), 3, 3, BACKOFF, 0.5),
            Decision::DeadLetter(_)
        ));
    }

    #[test]
    fn no_handler_puts_its_task_off_for_more_than_a_year() {
        let decision = decide(Failure::RetryAfter(Duration::MAX), 1, 3, BACKOFF, 0.5);
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
