//! The state machine of a circuit breaker. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The limits of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Number of errors within `window` that opens the breaker (`BREAKER_ERRORS`).
    pub errors: u32,
    /// Age after which an error no longer counts (`BREAKER_WINDOW`).
    pub window: Duration,
    /// Time that the breaker stays open before it permits one call (`BREAKER_COOLDOWN`).
    pub cooldown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            errors: 5,
            window: Duration::from_mins(1),
            cooldown: Duration::from_secs(5),
        }
    }
}

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All calls are permitted.
    Closed,
    /// One call is permitted, as a trial of the service.
    HalfOpen,
    /// No calls are permitted.
    Open,
}

impl State {
    /// Returns the name in health and in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// The state machine. Errors of ordinary calls count only while it is closed: later ones belong to calls that
/// were sent before it opened.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The times of the latest errors, oldest first; always fewer than [`Limits::errors`].
    Closed(VecDeque<Instant>),
    /// The time at which the cooldown ends.
    Open(Instant),
    /// A trial is in progress.
    Trying,
}

impl Machine {
    /// Creates a closed breaker.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Closed(VecDeque::new()),
        }
    }

    /// Returns the state at the time `now`.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open(until) if now < until => State::Open,
            Phase::Open(_) | Phase::Trying => State::HalfOpen,
        }
    }

    /// Records a call that found the service unavailable.
    pub fn failed(&mut self, now: Instant) {
        let Phase::Closed(errors) = &mut self.phase else {
            return;
        };
        while errors
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) > self.limits.window)
        {
            errors.pop_front();
        }
        // never more than `limits.errors` entries: at that number the breaker opens and drops them
        errors.push_back(now);
        if errors.len() >= self.limits.errors as usize {
            self.open(now);
        }
    }

    /// Returns the time until a trial may begin; `None` while the breaker is closed or a trial is in
    /// progress.
    pub fn trial_in(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Open(until) => Some(until.saturating_duration_since(now)),
            Phase::Closed(_) | Phase::Trying => None,
        }
    }

    /// Begins a trial. Returns false if the cooldown is not over or a trial is in progress.
    pub fn begin_trial(&mut self, now: Instant) -> bool {
        let due = self.trial_in(now).is_some_and(|wait| wait.is_zero());
        if due {
            self.phase = Phase::Trying;
        }
        due
    }

    /// Records the outcome of the trial: closes the breaker or starts another cooldown.
    pub fn end_trial(&mut self, now: Instant, passed: bool) {
        match self.phase {
            Phase::Trying if passed => self.phase = Phase::Closed(VecDeque::new()),
            Phase::Trying => self.open(now),
            Phase::Closed(_) | Phase::Open(_) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.phase = Phase::Open(now + self.limits.cooldown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_mins(1);
    const SECOND: Duration = Duration::from_secs(1);
    const COOLDOWN: Duration = Duration::from_secs(5);
    const ALMOST: Duration = Duration::from_secs(4);

    fn breaker() -> (Machine, Instant) {
        let limits = Limits {
            errors: 3,
            window: WINDOW,
            cooldown: COOLDOWN,
        };
        (Machine::new(limits), Instant::now())
    }

    fn open_breaker() -> (Machine, Instant) {
        let (mut breaker, now) = breaker();
        (0..3).for_each(|_| breaker.failed(now));
        assert_eq!(breaker.state(now), State::Open);
        (breaker, now)
    }

    #[test]
    fn it_opens_at_the_limit_of_errors_within_the_window() {
        let (mut breaker, now) = breaker();
        breaker.failed(now);
        breaker.failed(now + WINDOW / 2);
        assert_eq!(breaker.state(now + WINDOW / 2), State::Closed);
        breaker.failed(now + WINDOW);
        assert_eq!(breaker.state(now + WINDOW), State::Open);
    }

    #[test]
    fn errors_that_the_window_has_left_behind_are_forgotten() {
        let (mut breaker, now) = breaker();
        breaker.failed(now);
        breaker.failed(now);
        let later = now + WINDOW + SECOND;
        breaker.failed(later);
        assert_eq!(breaker.state(later), State::Closed);
        breaker.failed(later);
        breaker.failed(later);
        assert_eq!(breaker.state(later), State::Open);
    }

    #[test]
    fn an_open_one_permits_no_call_until_the_cooldown_is_over() {
        let (mut breaker, now) = open_breaker();
        let early = now + ALMOST;
        assert_eq!(breaker.trial_in(early), Some(SECOND));
        assert!(!breaker.begin_trial(early));
        assert_eq!(breaker.state(now + COOLDOWN), State::HalfOpen);
    }

    #[test]
    fn a_half_open_one_lets_exactly_one_through() {
        let (mut breaker, now) = open_breaker();
        let later = now + COOLDOWN;
        assert!(breaker.begin_trial(later));
        assert!(!breaker.begin_trial(later));
        assert!(!breaker.begin_trial(later + COOLDOWN));
        assert_eq!(breaker.state(later), State::HalfOpen);
    }

    #[test]
    fn a_trial_that_passes_closes_it_and_forgets_all_errors() {
        let (mut breaker, now) = open_breaker();
        let later = now + COOLDOWN;
        assert!(breaker.begin_trial(later));
        breaker.end_trial(later, true);
        breaker.failed(later);
        breaker.failed(later);
        assert_eq!(breaker.state(later), State::Closed);
    }

    #[test]
    fn a_trial_that_fails_opens_it_for_a_whole_cooldown_again() {
        let (mut breaker, now) = open_breaker();
        let later = now + COOLDOWN;
        assert!(breaker.begin_trial(later));
        breaker.end_trial(later, false);
        assert_eq!(breaker.trial_in(later), Some(COOLDOWN));
        assert!(breaker.begin_trial(later + COOLDOWN));
    }

    #[test]
    fn calls_sent_before_it_opened_change_nothing_afterwards() {
        let (mut breaker, now) = open_breaker();
        breaker.failed(now + SECOND);
        breaker.end_trial(now + SECOND, true);
        assert_eq!(breaker.trial_in(now + COOLDOWN), Some(Duration::ZERO));
        assert!(breaker.begin_trial(now + COOLDOWN));
        breaker.failed(now + COOLDOWN);
        assert_eq!(breaker.state(now + COOLDOWN), State::HalfOpen);
    }

    #[test]
    fn there_is_no_trial_of_a_closed_one() {
        let (mut breaker, now) = breaker();
        assert!(!breaker.begin_trial(now));
        assert_eq!(breaker.trial_in(now), None);
    }
}
