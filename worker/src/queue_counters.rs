//! How many runs ended here, and how long they took: totals since the start, for each queue of this worker. Heartbeats carry
//! them to the fleet, which tells from them how fast a queue is drained. Metrics of each run by queue are kept here, too: their
//! handles are looked up once.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Histogram, histogram};
use tasker_shared::store::claim::Claimed;
use tasker_shared::task::QueueName;

/// The totals.
#[derive(Debug)]
pub(crate) struct QueueCounters {
    queues: Vec<QueueName>,
    totals: Mutex<Totals>,
    meters: Vec<Meters>,
}

/// The histograms of a queue.
struct Meters {
    wait: Histogram,
    run: Histogram,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

impl Meters {
    fn of(queue: &QueueName) -> Self {
        Self {
            wait: histogram!("tasker_task_wait_seconds", "queue" => queue.to_string()),
            run: histogram!("tasker_run_seconds", "queue" => queue.to_string()),
        }
    }
}

/// Both in the order of the worker's queues.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) ended: Vec<i64>,
    pub(crate) busy_seconds: Vec<f64>,
}

impl QueueCounters {
    /// Nothing yet, for these queues.
    pub(crate) fn new(queues: Vec<QueueName>) -> Self {
        let totals = Totals {
            ended: vec![0; queues.len()],
            busy_seconds: vec![0.0; queues.len()],
        };
        Self {
            meters: queues.iter().map(Meters::of).collect(),
            queues,
            totals: Mutex::new(totals),
        }
    }

    /// Adds runs that ended.
    pub(crate) fn add<'a>(&self, runs: impl Iterator<Item = (&'a QueueName, Duration)>) {
        let mut totals = self.lock();
        for (queue, elapsed) in runs {
            let Some(place) = self.place(queue) else { continue };
            if let Some(meters) = self.meters.get(place) {
                meters.run.record(elapsed);
            }
            if let Some(ended) = totals.ended.get_mut(place) {
                *ended += 1;
            }
            if let Some(busy) = totals.busy_seconds.get_mut(place) {
                *busy += elapsed.as_secs_f64();
            }
        }
    }

    /// Measures how long tasks waited that were claimed, by Postgres's clock.
    pub(crate) fn waited<'a>(&self, tasks: impl Iterator<Item = &'a Claimed>) {
        for task in tasks {
            let meters = self.place(&task.queue).and_then(|place| self.meters.get(place));
            let waited = (task.started_at - task.due_at).to_std().unwrap_or_default();
            if let Some(meters) = meters {
                meters.wait.record(waited);
            }
        }
    }

    fn place(&self, queue: &QueueName) -> Option<usize> {
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
        let queue_counters = QueueCounters::new(vec![QueueName::high(), QueueName::low()]);
        let (low, other) = (QueueName::low(), QueueName::default_class());
        let second = Duration::from_secs(1);
        queue_counters.add([(&low, second), (&low, second / 2), (&other, second)].into_iter());
        let totals = queue_counters.totals();
        assert_eq!((totals.ended, totals.busy_seconds), (vec![0, 2], vec![0.0, 1.5]));
    }
}
