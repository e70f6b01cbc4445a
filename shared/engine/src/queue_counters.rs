//! Queue counters: the number of runs that ended on this worker and their total duration since its start, by
//! queue. Heartbeats report them, and the server derives the drain rate of each queue. The histograms by
//! queue are here too, so that their handles are looked up once.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Histogram, histogram};
use tasker_core::task::QueueName;
use tasker_store::claim::Claimed;

/// The totals and histograms of this worker's queues.
#[derive(Debug)]
pub(crate) struct QueueCounters {
    queues: Vec<QueueName>,
    totals: Mutex<Totals>,
    histograms: Vec<Histograms>,
}

/// The histograms of a queue.
struct Histograms {
    wait: Histogram,
    run: Histogram,
}

impl fmt::Debug for Histograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Histograms")
    }
}

impl Histograms {
    fn of(queue: &QueueName) -> Self {
        Self {
            wait: histogram!("tasker_task_wait_seconds", "queue" => queue.to_string()),
            run: histogram!("tasker_run_seconds", "queue" => queue.to_string()),
        }
    }
}

/// The totals, each in the order of the worker's queues.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) ended: Vec<i64>,
    pub(crate) busy_seconds: Vec<f64>,
}

impl QueueCounters {
    /// Returns counters at zero for these queues.
    pub(crate) fn new(queues: Vec<QueueName>) -> Self {
        let totals = Totals {
            ended: vec![0; queues.len()],
            busy_seconds: vec![0.0; queues.len()],
        };
        Self {
            histograms: queues.iter().map(Histograms::of).collect(),
            queues,
            totals: Mutex::new(totals),
        }
    }

    /// Adds runs that ended.
    pub(crate) fn add<'a>(&self, runs: impl Iterator<Item = (&'a QueueName, Duration)>) {
        let mut totals = self.lock();
        for (queue, elapsed) in runs {
            let Some(index) = self.index(queue) else { continue };
            if let Some(histograms) = self.histograms.get(index) {
                histograms.run.record(elapsed);
            }
            if let Some(ended) = totals.ended.get_mut(index) {
                *ended += 1;
            }
            if let Some(busy) = totals.busy_seconds.get_mut(index) {
                *busy += elapsed.as_secs_f64();
            }
        }
    }

    /// Records the time for which claimed tasks waited, by Postgres's clock.
    pub(crate) fn waited<'a>(&self, tasks: impl Iterator<Item = &'a Claimed>) {
        for task in tasks {
            let histograms = self
                .index(&task.queue)
                .and_then(|index| self.histograms.get(index));
            // a negative difference, after the clock was set back, counts as zero
            let waited = (task.started_at - task.due_at).to_std().unwrap_or_default();
            if let Some(histograms) = histograms {
                histograms.wait.record(waited);
            }
        }
    }

    fn index(&self, queue: &QueueName) -> Option<usize> {
        self.queues.iter().position(|served| served == queue)
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_added_to_the_totals_of_their_queue() {
        let counters = QueueCounters::new(vec![QueueName::high(), QueueName::low()]);
        let (low, other) = (QueueName::low(), QueueName::default_class());
        let second = Duration::from_secs(1);
        counters.add([(&low, second), (&low, second / 2), (&other, second)].into_iter());
        let totals = counters.totals();
        assert_eq!((totals.ended, totals.busy_seconds), (vec![0, 2], vec![0.0, 1.5]));
    }
}
