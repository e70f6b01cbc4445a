//! Priority aging: decides when a claim loop pops starved tasks first, so that a task that waited longer than
//! `PRIORITY_AGE_LIMIT` is claimed as if it were one class higher. Pure; time is an argument.
//!
//! Starved tasks share with the class above them: while some are left, every second pop takes them first, so
//! neither side can starve the other. Each pop returns whether starved tasks are left; a loop that has not
//! popped for a while does not rely on that and asks for starved tasks first.

use std::time::{Duration, Instant};

/// Time for which the answer of the last pop stays valid: a busy loop may pop again only after minutes.
const ANSWER_VALID_FOR: Duration = Duration::from_secs(2);

/// The aging state of one claim loop.
#[derive(Debug, Default)]
pub(crate) struct Aging {
    /// The time at which the last pop was answered.
    popped: Option<Instant>,
    /// True if the last pop left starved tasks behind.
    starved_left: bool,
    /// True if the last pop took starved tasks first.
    had_their_turn: bool,
}

impl Aging {
    /// Returns true if the next pop takes starved tasks first.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let known = self
            .popped
            .is_some_and(|popped| now.duration_since(popped) <= ANSWER_VALID_FOR);
        // a pop for starved tasks does not block, so two in a row would spin on an empty list
        (self.starved_left || !known) && !self.had_their_turn
    }

    /// Records a pop: if it took starved tasks first, and if some are left.
    pub(crate) fn popped(&mut self, now: Instant, had_their_turn: bool, starved_left: bool) {
        self.popped = Some(now);
        self.had_their_turn = had_their_turn;
        self.starved_left = starved_left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_starved_tasks_are_left_every_second_pop_takes_them_first() {
        let (mut aging, now) = (Aging::default(), Instant::now());
        let mut turns = Vec::new();
        for _ in 0..4 {
            let due = aging.is_due(now);
            turns.push(due);
            aging.popped(now, due, true);
        }
        assert_eq!(turns, [true, false, true, false]);
    }

    #[test]
    fn a_loop_that_pops_often_does_not_ask_while_no_task_starves() {
        let (mut aging, mut now) = (Aging::default(), Instant::now());
        aging.popped(now, true, false);
        for _ in 0..10 {
            now += Duration::from_secs(1);
            assert!(!aging.is_due(now));
            aging.popped(now, false, false);
        }
    }

    #[test]
    fn a_loop_whose_slots_were_full_for_long_asks_for_starved_tasks_first() {
        let (mut aging, now) = (Aging::default(), Instant::now());
        aging.popped(now, false, false);
        assert!(!aging.is_due(now + ANSWER_VALID_FOR));
        assert!(aging.is_due(now + ANSWER_VALID_FOR * 2));
    }

    #[test]
    fn a_turn_that_found_nothing_is_followed_by_a_pop_that_waits() {
        let (mut aging, now) = (Aging::default(), Instant::now());
        aging.popped(now, true, true);
        assert!(!aging.is_due(now + ANSWER_VALID_FOR * 2));
    }
}
