//! Age: when a claim loop takes aged heads first, so that what waited too long is served as if it were one class higher. Pure;
//! time is an argument.
//!
//! As if, and not before it: while aged heads are left, every second pop is one that takes them first, so neither they nor the
//! class above can starve the other. Each pop brings along whether any are left; a loop that has not popped for a while does
//! not trust what it knew then and asks for aged heads first.

use std::time::{Duration, Instant};

/// How long the word of a pop counts: a busy loop may pop again only after minutes.
const TRUST: Duration = Duration::from_secs(2);

/// Whether the next pop takes aged heads first.
#[derive(Debug, Default)]
pub(crate) struct Age {
    /// When the last pop was answered.
    popped: Option<Instant>,
    /// Whether it left aged heads behind.
    left: bool,
    /// Whether it was the aged heads' turn.
    had_their_turn: bool,
}

impl Age {
    /// Whether the next pop takes aged heads first.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let known = self
            .popped
            .is_some_and(|popped| now.duration_since(popped) <= TRUST);
        (self.left || !known) && !self.had_their_turn
    }

    /// Notes a pop: whether it was the aged heads' turn, and whether some are left.
    pub(crate) fn popped(&mut self, now: Instant, had_their_turn: bool, left: bool) {
        self.popped = Some(now);
        self.had_their_turn = had_their_turn;
        self.left = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_aged_heads_are_left_every_second_pop_takes_them_first() {
        let (mut age, now) = (Age::default(), Instant::now());
        let mut turns = Vec::new();
        for _ in 0..4 {
            let due = age.is_due(now);
            turns.push(due);
            age.popped(now, due, true);
        }
        assert_eq!(turns, [true, false, true, false]);
    }

    #[test]
    fn a_loop_that_pops_often_does_not_ask_while_nothing_is_aged() {
        let (mut age, mut now) = (Age::default(), Instant::now());
        age.popped(now, true, false);
        for _ in 0..10 {
            now += Duration::from_secs(1);
            assert!(!age.is_due(now));
            age.popped(now, false, false);
        }
    }

    #[test]
    fn a_loop_whose_slots_were_full_for_long_asks_for_aged_heads_first() {
        let (mut age, now) = (Age::default(), Instant::now());
        age.popped(now, false, false);
        assert!(!age.is_due(now + TRUST));
        assert!(age.is_due(now + TRUST * 2));
    }

    #[test]
    fn a_turn_that_found_nothing_is_followed_by_a_pop_that_waits() {
        let (mut age, now) = (Age::default(), Instant::now());
        age.popped(now, true, true);
        assert!(!age.is_due(now + TRUST * 2));
    }
}
