//! The polling fallback: which claims come from Postgres instead of the lists, so that every pending row is found as long as a
//! worker for it lives, whatever happened to Redis or to its hint. Nothing is kept in the table for it. Pure; time is an argument.
//!
//! A poll finds rows whether or not they have a hint, so the hints of what it claims are removed afterwards. While all is well a
//! poll is small and rare, and never follows another without a pop in between: the lists stay the way that work takes. A poll
//! counts as having found lost rows when they are older than what the lists have already given, or when the lists are empty;
//! then polls take turns with pops until no lost row is found any more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tasker_shared::config::DispatchMode;
use tasker_shared::store::claim::Place;
use tasker_shared::task::QueueName;

/// Longest time between two polls while all is well.
const POLL: Duration = Duration::from_secs(5);
/// Rows of a poll while the lists give work: enough to see lost ones, few enough to leave their hints to other workers.
const PROBE_ROWS: usize = 16;
/// How long rows must have been pending for a poll beside lists that can be read: until then their hints may be on their way.
const HINTS_ON_THEIR_WAY: Duration = Duration::from_secs(1);
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
    /// From the oldest pending rows.
    Table {
        /// The maximum number of rows.
        rows: usize,
        /// How long they must have been pending.
        min_age: Duration,
    },
}

/// A claimed task: its queue, and when it was enqueued.
pub(crate) type Seen<'a> = (&'a QueueName, DateTime<Utc>);

/// When a claim loop polls the table, and from where on.
#[derive(Debug)]
pub(crate) struct Fallback {
    mode: DispatchMode,
    /// When the next poll is due.
    due: Instant,
    /// Whether the last poll found rows that have lost their hints: then more of them are likely.
    lost: bool,
    /// Whether the last claim came from the lists.
    popped: bool,
    /// Whether the last pop found the lists empty.
    lists_empty: bool,
    /// How far the lists have given their work, by queue.
    popped_up_to: HashMap<QueueName, DateTime<Utc>>,
    /// Where the next poll of a queue goes on, behind rows of types that this worker does not register.
    go_on: HashMap<QueueName, Place>,
    /// When polls began at the oldest rows last.
    from_oldest: Instant,
}

impl Fallback {
    pub(crate) fn new(mode: DispatchMode, now: Instant) -> Self {
        Self {
            mode,
            // at once: rows of a type whose first worker this is may have waited for long
            due: now,
            lost: false,
            popped: true,
            lists_empty: false,
            popped_up_to: HashMap::new(),
            go_on: HashMap::new(),
            from_oldest: now,
        }
    }

    /// Where the next claim for `free` slots comes from; `pops_work` tells whether the lists can be read.
    pub(crate) fn next(&self, now: Instant, free: usize, pops_work: bool) -> Source {
        let lists = Source::Lists(if self.lost { BLOCK_WHILE_LOST } else { BLOCK });
        let all_rows = Source::Table {
            rows: free,
            min_age: Duration::ZERO,
        };
        let settled = |rows| Source::Table {
            rows,
            min_age: HINTS_ON_THEIR_WAY,
        };
        match self.mode {
            DispatchMode::PollingOnly => all_rows,
            DispatchMode::EventDrivenOnly => lists,
            DispatchMode::Hybrid if !pops_work => all_rows,
            DispatchMode::Hybrid if !self.popped => lists,
            DispatchMode::Hybrid if self.lost => settled(free),
            DispatchMode::Hybrid if now < self.due => lists,
            DispatchMode::Hybrid if self.lists_empty => settled(free),
            DispatchMode::Hybrid => settled(free.min(PROBE_ROWS)),
        }
    }

    /// Returns where a poll of each of `queues` begins; `None` is at the oldest rows, where it begins again every few seconds.
    pub(crate) fn begin_poll(&mut self, now: Instant, queues: &[QueueName]) -> Vec<Option<Place>> {
        if now.saturating_duration_since(self.from_oldest) >= POLL {
            self.from_oldest = now;
            self.go_on.clear();
        }
        queues
            .iter()
            .map(|queue| self.go_on.get(queue).copied())
            .collect()
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

    /// Notes what a poll claimed, and where it stopped.
    pub(crate) fn polled<'a>(
        &mut self,
        now: Instant,
        mut tasks: impl Iterator<Item = Seen<'a>>,
        stopped_at: Vec<(QueueName, Place)>,
    ) {
        self.due = now + POLL;
        self.popped = false;
        self.go_on = stopped_at.into_iter().collect();
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

    fn poll(rows: usize) -> Source {
        Source::Table {
            rows,
            min_age: HINTS_ON_THEIR_WAY,
        }
    }

    fn poll_all() -> Source {
        Source::Table {
            rows: FREE,
            min_age: Duration::ZERO,
        }
    }

    fn polled<'a>(fallback: &mut Fallback, now: Instant, tasks: impl Iterator<Item = Seen<'a>>) {
        fallback.polled(now, tasks, Vec::new());
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    fn hybrid() -> (Fallback, Instant, QueueName) {
        let now = Instant::now();
        let mut fallback = Fallback::new(DispatchMode::Hybrid, now);
        polled(&mut fallback, now, std::iter::empty());
        (fallback, now, QueueName::default_class())
    }

    #[test]
    fn while_all_is_well_one_claim_in_five_seconds_is_a_small_poll() {
        let (mut fallback, now, queue) = hybrid();
        fallback.popped(false);
        fallback.claimed([(&queue, at(100))].into_iter());
        assert_eq!(fallback.next(now, FREE, true), WAIT);
        assert_eq!(fallback.next(now + POLL, FREE, true), poll(PROBE_ROWS));
        // it finds the head of a list that is right: younger than what was popped
        polled(&mut fallback, now + POLL, [(&queue, at(101))].into_iter());
        assert_eq!(fallback.next(now + POLL, FREE, true), WAIT);
    }

    #[test]
    fn rows_older_than_what_the_lists_gave_are_lost_and_make_every_second_claim_a_poll() {
        let (mut fallback, now, queue) = hybrid();
        fallback.popped(false);
        fallback.claimed([(&queue, at(100))].into_iter());
        polled(&mut fallback, now, [(&queue, at(50))].into_iter());
        assert_eq!(fallback.next(now, FREE, true), GLANCE);
        fallback.popped(false);
        fallback.claimed([(&queue, at(102))].into_iter());
        assert_eq!(fallback.next(now, FREE, true), poll(FREE));
        polled(&mut fallback, now, std::iter::empty());
        assert_eq!(fallback.next(now, FREE, true), WAIT);
    }

    #[test]
    fn a_poll_is_followed_by_a_pop_however_long_the_claimed_task_takes() {
        let (mut fallback, now, queue) = hybrid();
        fallback.popped(false);
        for claim in 1..4 {
            let later = now + POLL * 2 * claim;
            assert_eq!(fallback.next(later, 1, true), poll(1));
            polled(&mut fallback, later, [(&queue, at(100))].into_iter());
            assert_eq!(fallback.next(later + POLL, 1, true), WAIT);
            fallback.popped(false);
        }
    }

    #[test]
    fn a_worker_polls_once_at_its_start() {
        let now = Instant::now();
        let mut fallback = Fallback::new(DispatchMode::Hybrid, now);
        assert_eq!(fallback.next(now, FREE, true), poll(PROBE_ROWS));
        polled(&mut fallback, now, std::iter::empty());
        assert_eq!(fallback.next(now, FREE, true), WAIT);
    }

    #[test]
    fn a_poll_goes_on_behind_tasks_of_other_types_and_begins_at_the_oldest_again_after_a_while() {
        let (mut fallback, now, queue) = hybrid();
        let queues = [queue.clone(), QueueName::low()];
        let place = (at(100), tasker_shared::task::TaskId::MAX);
        fallback.polled(now, std::iter::empty(), vec![(queue, place)]);
        assert_eq!(fallback.begin_poll(now, &queues), [Some(place), None]);
        assert_eq!(fallback.begin_poll(now + POLL, &queues), [None, None]);
    }

    #[test]
    fn rows_beside_empty_lists_are_lost() {
        let (mut fallback, now, queue) = hybrid();
        fallback.popped(true);
        assert_eq!(fallback.next(now + POLL, FREE, true), poll(FREE));
        polled(&mut fallback, now + POLL, [(&queue, at(1))].into_iter());
        assert_eq!(fallback.next(now + POLL, FREE, true), GLANCE);
    }

    #[test]
    fn an_idle_worker_polls_no_more_often_than_a_busy_one() {
        let (mut fallback, now, _) = hybrid();
        fallback.popped(true);
        polled(&mut fallback, now, std::iter::empty());
        fallback.popped(true);
        assert_eq!(fallback.next(now, FREE, true), WAIT);
    }

    #[test]
    fn while_pops_fail_every_claim_is_a_poll() {
        let (mut fallback, now, queue) = hybrid();
        for _ in 0..3 {
            assert_eq!(fallback.next(now, FREE, false), poll_all());
            polled(&mut fallback, now, [(&queue, at(1))].into_iter());
        }
    }

    #[test]
    fn the_other_modes_know_one_source_only() {
        let now = Instant::now();
        let polling = Fallback::new(DispatchMode::PollingOnly, now);
        assert_eq!(polling.next(now, FREE, true), poll_all());
        let event_driven = Fallback::new(DispatchMode::EventDrivenOnly, now);
        assert_eq!(event_driven.next(now + POLL, FREE, false), WAIT);
    }
}
