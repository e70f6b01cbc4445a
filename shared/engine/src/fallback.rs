//! The polling fallback: decides which claims poll Postgres instead of popping from the lists, so that every
//! pending row is found as long as a worker for it lives, whatever happened to Redis or to its hint. It needs
//! no state in the table. Pure; time is an argument.
//!
//! A poll finds rows with or without hints, so the hints of the rows that it claims are removed afterwards.
//! In normal operation polls are small and rare, and two polls never follow each other without a pop in
//! between: the lists remain the main path. Rows that a poll finds have lost their hints if they are older
//! than rows that the lists already delivered, or if the lists are empty; then polls alternate with pops
//! until a poll finds no such row.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tasker_core::task::QueueName;
use tasker_queue::DispatchMode;
use tasker_store::claim::Place;

/// The maximum time between two polls in normal operation.
const POLL: Duration = Duration::from_secs(5);
/// Rows of a poll while the lists deliver work: enough to detect lost hints, few enough to leave most rows to
/// the lists.
const PROBE_ROWS: usize = 16;
/// The minimum age of polled rows while the lists can be read: hints of younger rows may not have been pushed
/// yet.
const HINTS_ON_THEIR_WAY: Duration = Duration::from_secs(1);
/// Tolerance in comparing enqueue times: hints of about the same time may be pushed and claimed in another
/// order than their rows were written.
const DISORDER: TimeDelta = TimeDelta::seconds(1);
/// The time for which a pop blocks on empty lists.
const BLOCK: Duration = Duration::from_secs(1);
/// The same while polls find rows that have lost their hints: the next poll must not wait.
const BLOCK_WHILE_LOST: Duration = Duration::from_millis(1);

/// The source of the next claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The hints of the lists; a pop blocks on empty lists for this long.
    Lists(Duration),
    /// The oldest pending rows.
    Table {
        /// The maximum number of rows.
        rows: usize,
        /// The minimum time for which they have been pending.
        min_age: Duration,
    },
}

/// The queue of a claimed task and the time at which it was enqueued.
pub(crate) type Enqueued<'a> = (&'a QueueName, DateTime<Utc>);

/// The polling state of one claim loop.
#[derive(Debug)]
pub(crate) struct Fallback {
    mode: DispatchMode,
    /// The time of the next regular poll.
    due: Instant,
    /// True if the last poll found rows that have lost their hints: then more of them are likely.
    lost: bool,
    /// True if the last claim came from the lists.
    popped: bool,
    /// True if the last pop found the lists empty.
    lists_empty: bool,
    /// The newest enqueue time that the lists have delivered, by queue.
    popped_up_to: HashMap<QueueName, DateTime<Utc>>,
    /// The place where the next poll of a queue resumes, behind rows of types that this worker does not
    /// register.
    resume_at: HashMap<QueueName, Place>,
    /// The time at which polls last began at the oldest rows.
    from_oldest: Instant,
}

impl Fallback {
    pub(crate) fn new(mode: DispatchMode, now: Instant) -> Self {
        Self {
            mode,
            // at once: this may be the first worker of a type, and hints of types without workers are parked
            due: now,
            lost: false,
            popped: true,
            lists_empty: false,
            popped_up_to: HashMap::new(),
            resume_at: HashMap::new(),
            from_oldest: now,
        }
    }

    /// Returns the source of the next claim for `free` slots; `pops_work` is true if the lists can be read.
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
        // the order of the arms is their precedence
        match self.mode {
            DispatchMode::PollingOnly => all_rows,
            DispatchMode::EventDrivenOnly => lists,
            DispatchMode::Hybrid if !pops_work => all_rows,
            // a pop after each poll, even if the claimed runs took longer than POLL: one slot must not only
            // ever poll
            DispatchMode::Hybrid if !self.popped => lists,
            DispatchMode::Hybrid if self.lost => settled(free),
            DispatchMode::Hybrid if now < self.due => lists,
            DispatchMode::Hybrid if self.lists_empty => settled(free),
            DispatchMode::Hybrid => settled(free.min(PROBE_ROWS)),
        }
    }

    /// Returns where a poll of each of `queues` begins; `None` is at the oldest rows, where it begins again
    /// every few seconds.
    pub(crate) fn begin_poll(&mut self, now: Instant, queues: &[QueueName]) -> Vec<Option<Place>> {
        if now.saturating_duration_since(self.from_oldest) >= POLL {
            // rows before those places may have been locked by others, or committed late
            self.from_oldest = now;
            self.resume_at.clear();
        }
        queues
            .iter()
            .map(|queue| self.resume_at.get(queue).copied())
            .collect()
    }

    /// Records a pop.
    pub(crate) fn popped(&mut self, lists_empty: bool) {
        self.popped = true;
        self.lists_empty = lists_empty;
    }

    /// Records tasks that were claimed by hints from the lists.
    pub(crate) fn claimed<'a>(&mut self, tasks: impl Iterator<Item = Enqueued<'a>>) {
        for (queue, enqueued_at) in tasks {
            match self.popped_up_to.get_mut(queue) {
                Some(newest) => *newest = enqueued_at.max(*newest),
                None => drop(self.popped_up_to.insert(queue.clone(), enqueued_at)),
            }
        }
    }

    /// Records the tasks that a poll claimed, and the places where it stopped.
    pub(crate) fn polled<'a>(
        &mut self,
        now: Instant,
        mut tasks: impl Iterator<Item = Enqueued<'a>>,
        stopped_at: Vec<(QueueName, Place)>,
    ) {
        self.due = now + POLL;
        self.popped = false;
        self.resume_at = stopped_at.into_iter().collect();
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
    const SHORT_WAIT: Source = Source::Lists(BLOCK_WHILE_LOST);

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

    fn polled<'a>(fallback: &mut Fallback, now: Instant, tasks: impl Iterator<Item = Enqueued<'a>>) {
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
    fn in_normal_operation_one_claim_in_five_seconds_is_a_small_poll() {
        let (mut fallback, now, queue) = hybrid();
        fallback.popped(false);
        fallback.claimed([(&queue, at(100))].into_iter());
        assert_eq!(fallback.next(now, FREE, true), WAIT);
        assert_eq!(fallback.next(now + POLL, FREE, true), poll(PROBE_ROWS));
        // it finds the head of an intact list: younger than what was popped
        polled(&mut fallback, now + POLL, [(&queue, at(101))].into_iter());
        assert_eq!(fallback.next(now + POLL, FREE, true), WAIT);
    }

    #[test]
    fn rows_older_than_what_the_lists_delivered_are_lost_and_make_every_second_claim_a_poll() {
        let (mut fallback, now, queue) = hybrid();
        fallback.popped(false);
        fallback.claimed([(&queue, at(100))].into_iter());
        polled(&mut fallback, now, [(&queue, at(50))].into_iter());
        assert_eq!(fallback.next(now, FREE, true), SHORT_WAIT);
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
        let place = (at(100), tasker_core::task::TaskId::MAX);
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
        assert_eq!(fallback.next(now + POLL, FREE, true), SHORT_WAIT);
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
