//! The net: which claims come from Postgres instead of the lists, so that every pending row is found as long as a worker for
//! it lives, whatever happened to Redis or to its hint. Nothing is kept in the table for it. Pure; time is an argument.
//!
//! A look into the table finds rows whether or not they have a hint, and leaves a stale hint behind for each that has one. So
//! while all is well a look is small and rare. It counts as having found lost rows when they are older than what the lists
//! have already given, or when the lists are empty; then looks take turns with pops until nothing lost is found any more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tasker_shared::config::DispatchMode;
use tasker_shared::task::QueueName;

/// Longest time between two looks into the table while all is well.
const LOOK: Duration = Duration::from_secs(5);
/// Rows of a look while the lists give work: enough to see, few enough to leave no heap of stale hints.
const PROBE_ROWS: usize = 16;
/// Hints of one time may be pushed, and claimed by others, in another order than their rows were written.
const DISORDER: TimeDelta = TimeDelta::seconds(1);
/// How long an empty list may hold a pop up, usually and while looks find lost rows.
const BLOCK: Duration = Duration::from_secs(1);
const BLOCK_WHILE_LOST: Duration = Duration::from_millis(1);

/// Where the next claim comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From the hints of the lists; an empty list holds the pop up this long.
    Lists(Duration),
    /// From the oldest pending rows, so many at most.
    Table(usize),
}

/// A task that was claimed, as the net sees it.
pub(crate) type Seen<'a> = (&'a QueueName, DateTime<Utc>);

/// When a claim loop looks into the table.
#[derive(Debug)]
pub(crate) struct Net {
    mode: DispatchMode,
    /// When the next look is due.
    due: Instant,
    /// Whether the last look found rows that have lost their hints: then more of them are likely.
    lost: bool,
    /// Whether the last claim came from the lists.
    popped: bool,
    /// Whether the last pop found the lists empty.
    lists_empty: bool,
    /// How far the lists have given their work, by queue.
    popped_up_to: HashMap<QueueName, DateTime<Utc>>,
}

impl Net {
    pub(crate) fn new(mode: DispatchMode, now: Instant) -> Self {
        let due = now + LOOK;
        Self {
            mode,
            due,
            lost: false,
            popped: false,
            lists_empty: false,
            popped_up_to: HashMap::new(),
        }
    }

    /// Where the next claim for `free` slots comes from; `pops_work` tells whether the lists can be read.
    pub(crate) fn next(&self, now: Instant, free: usize, pops_work: bool) -> Source {
        let lists = Source::Lists(if self.lost { BLOCK_WHILE_LOST } else { BLOCK });
        match self.mode {
            DispatchMode::PollingOnly => Source::Table(free),
            DispatchMode::EventDrivenOnly => lists,
            DispatchMode::Hybrid if !pops_work || (self.lost && self.popped) => Source::Table(free),
            DispatchMode::Hybrid if now < self.due => lists,
            DispatchMode::Hybrid if self.lists_empty => Source::Table(free),
            DispatchMode::Hybrid => Source::Table(free.min(PROBE_ROWS)),
        }
    }

    /// Notes a pop, and whether the lists were empty.
    pub(crate) fn popped(&mut self, lists_empty: bool) {
        self.popped = true;
        self.lists_empty = lists_empty;
    }

    /// Notes what was claimed by hints from the lists.
    pub(crate) fn claimed<'a>(&mut self, tasks: impl Iterator<Item = Seen<'a>>) {
        for (queue, enqueued_at) in tasks {
            match self.popped_up_to.get_mut(queue) {
                Some(newest) => *newest = enqueued_at.max(*newest),
                None => drop(self.popped_up_to.insert(queue.clone(), enqueued_at)),
            }
        }
    }

    /// Notes what a look found.
    pub(crate) fn looked<'a>(&mut self, now: Instant, mut tasks: impl Iterator<Item = Seen<'a>>) {
        self.due = now + LOOK;
        self.popped = false;
        self.lost = tasks.any(|(queue, enqueued_at)| {
            let passed = self
                .popped_up_to
                .get(queue)
                .is_some_and(|newest| enqueued_at + DISORDER < *newest);
            passed || self.lists_empty
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: usize = 256;
    const WAIT: Source = Source::Lists(BLOCK);
    const GLANCE: Source = Source::Lists(BLOCK_WHILE_LOST);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    fn hybrid() -> (Net, Instant, QueueName) {
        let now = Instant::now();
        (
            Net::new(DispatchMode::Hybrid, now),
            now,
            QueueName::default_class(),
        )
    }

    #[test]
    fn while_all_is_well_one_claim_in_five_seconds_is_a_small_look() {
        let (mut net, now, queue) = hybrid();
        net.popped(false);
        net.claimed([(&queue, at(100))].into_iter());
        assert_eq!(net.next(now, FREE, true), WAIT);
        assert_eq!(net.next(now + LOOK, FREE, true), Source::Table(PROBE_ROWS));
        // it finds the head of a list that is right: younger than what was popped
        net.looked(now + LOOK, [(&queue, at(101))].into_iter());
        assert_eq!(net.next(now + LOOK, FREE, true), WAIT);
    }

    #[test]
    fn rows_older_than_what_the_lists_gave_are_lost_and_make_every_second_claim_a_look() {
        let (mut net, now, queue) = hybrid();
        net.popped(false);
        net.claimed([(&queue, at(100))].into_iter());
        net.looked(now, [(&queue, at(50))].into_iter());
        assert_eq!(net.next(now, FREE, true), GLANCE);
        net.popped(false);
        net.claimed([(&queue, at(102))].into_iter());
        assert_eq!(net.next(now, FREE, true), Source::Table(FREE));
        net.looked(now, std::iter::empty());
        assert_eq!(net.next(now, FREE, true), WAIT);
    }

    #[test]
    fn rows_beside_empty_lists_are_lost() {
        let (mut net, now, queue) = hybrid();
        net.popped(true);
        assert_eq!(net.next(now + LOOK, FREE, true), Source::Table(FREE));
        net.looked(now + LOOK, [(&queue, at(1))].into_iter());
        assert_eq!(net.next(now + LOOK, FREE, true), GLANCE);
    }

    #[test]
    fn an_idle_worker_looks_no_more_often_than_a_busy_one() {
        let (mut net, now, _) = hybrid();
        net.popped(true);
        net.looked(now, std::iter::empty());
        net.popped(true);
        assert_eq!(net.next(now, FREE, true), WAIT);
    }

    #[test]
    fn while_pops_fail_every_claim_is_a_look() {
        let (mut net, now, queue) = hybrid();
        for _ in 0..3 {
            assert_eq!(net.next(now, FREE, false), Source::Table(FREE));
            net.looked(now, [(&queue, at(1))].into_iter());
        }
    }

    #[test]
    fn the_other_modes_know_one_source_only() {
        let now = Instant::now();
        let polling = Net::new(DispatchMode::PollingOnly, now);
        assert_eq!(polling.next(now, FREE, true), Source::Table(FREE));
        let event_driven = Net::new(DispatchMode::EventDrivenOnly, now);
        assert_eq!(event_driven.next(now + LOOK, FREE, false), WAIT);
    }
}
