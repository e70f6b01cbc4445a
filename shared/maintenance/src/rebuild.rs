//! Repairs lists that lack hints or hold stale ones, so that `LLEN` is the number of pending tasks and their
//! order is kept. Until then the workers' polling fallback finds the tasks whose hints are missing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_core::task::{QueueName, TaskId};
use tasker_queue::{RedisQueues, Split};
use tasker_store::fleet::groups;
use tasker_store::rebuild::compare;
use tasker_store::{DeclaredQueues, ObservedPool};
use tracing::info;

use crate::duty::{Duty, bounded};
use crate::duty_status::{DutyError, DutyStatus};
use crate::fill::Filling;
use crate::router::Fleet;
use crate::sweep::Sweep;

/// Time between checks whether Redis lost its data.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between comparisons. A list is repaired after two of them, since a claim in progress looks like a
/// missing hint.
const INTERVAL: Duration = Duration::from_secs(5);
/// Length above which a list is compared less often, since the comparison counts as many rows.
const LONG_LIST: u64 = 10_000;
/// Time between comparisons of a long list.
const LONG_LIST_INTERVAL: Duration = Duration::from_mins(1);

/// The duty that compares lists with the table and repairs them.
#[derive(Debug)]
pub struct Rebuilder {
    db: ObservedPool,
    queue: Arc<RedisQueues>,
    queues: DeclaredQueues,
    /// A name that keeps the unfinished lists of this process apart from those of others.
    maker: String,
    /// The time of the last comparison.
    last: Option<Instant>,
    /// The time and the result of the last comparison of each list.
    compared: HashMap<QueueName, (Instant, Difference)>,
    /// Time without a heartbeat after which a worker does not count as live.
    worker_timeout: Duration,
    status: Arc<DutyStatus>,
}

/// The difference between the hints of a queue and its pending rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    None,
    /// Rows without hints.
    Lacks,
    /// Hints without rows.
    Exceeds,
}

impl Rebuilder {
    /// Creates the duty for `queues`.
    pub fn new(
        db: impl Into<ObservedPool>,
        queue: Arc<RedisQueues>,
        queues: impl Into<DeclaredQueues>,
        worker_timeout: Duration,
    ) -> Self {
        let maker = TaskId::generate().to_string();
        Self {
            db: db.into(),
            queue,
            queues: queues.into(),
            maker,
            last: None,
            compared: HashMap::new(),
            worker_timeout,
            status: Arc::default(),
        }
    }

    /// Records rebuilt lists in `status`.
    #[must_use]
    pub fn reporting_to(self, status: Arc<DutyStatus>) -> Self {
        Self { status, ..self }
    }

    /// Runs once at the time `now`; returns the rebuilt queues with the number of their hints.
    pub async fn run_once(&mut self, now: Instant) -> Result<Vec<(QueueName, usize)>, DutyError> {
        let intact = self.queue.lists_are_marked().await?;
        let waited = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        if intact && !waited {
            return Ok(Vec::new());
        }
        self.last = Some(now);
        let rebuilt = self.compare(now, intact).await?;
        // only after the rebuild: if it fails, the missing mark makes the next run try again
        if !intact {
            self.queue.mark_lists().await?;
        }
        Ok(rebuilt)
    }

    /// Compares the lists that are due and repairs them. If Redis lost its data, all lists are due and one
    /// comparison is enough.
    async fn compare(&mut self, now: Instant, intact: bool) -> Result<Vec<(QueueName, usize)>, DutyError> {
        let queues = self.queues.snapshot();
        let depths = self.queue.depths(&queues).await?;
        let parked = self.queue.unroutable(&queues).await?;
        // parked hints count: their rows are pending as well
        let hints = depths
            .into_iter()
            .zip(parked)
            .map(|(depth, parked)| depth + parked);
        let due = queues.iter().zip(hints).filter(|(queue, hints)| {
            let before = self.compared.get(*queue);
            !intact || is_due(before.map(|(at, _)| *at), *hints, now)
        });
        let (due, hints): (Vec<QueueName>, Vec<i64>) = due
            // the statement adds 1 to the number, which must not overflow
            .map(|(queue, hints)| (queue.clone(), i64::try_from(hints).unwrap_or(i64::MAX - 1)))
            .unzip();
        let comparisons = bounded(compare(&self.db, &due, &hints)).await?;
        let mut rebuilt = Vec::new();
        for (queue, found) in due.into_iter().zip(comparisons) {
            let before = self.compared.get(&queue).copied();
            let difference = match (found.lacks, found.exceeds) {
                (true, _) => Difference::Lacks,
                (false, true) => Difference::Exceeds,
                (false, false) => Difference::None,
            };
            // hints in flight between a commit and its push differ for a moment only, so the same result
            // twice is a fault
            let certain = !intact || before.is_some_and(|(_, before)| before == difference);
            let left = match difference {
                Difference::Lacks if certain => {
                    rebuilt.push((queue.clone(), self.rebuild(&queue).await?));
                    Difference::None
                }
                Difference::Exceeds if certain => {
                    self.sweep(&queue).await?;
                    Difference::None
                }
                other => other,
            };
            self.compared.insert(queue, (now, left));
        }
        Ok(rebuilt)
    }

    /// Rebuilds the lists of a queue from the table; returns the number of their hints.
    async fn rebuild(&self, queue: &QueueName) -> Result<usize, DutyError> {
        let groups = bounded(groups(&self.db, self.worker_timeout.as_secs_f64())).await?;
        let fleet = Fleet::of(&groups, queue);
        let filling = Filling {
            db: &self.db,
            redis: &self.queue,
            queue,
            maker: &self.maker,
            registered: fleet.routable(),
        };
        let hints = match self.queue.split(queue).await? {
            // `None`: the queue became plain meanwhile, and the next comparison finds what its main list
            // lacks
            Split::Split => filling.type_lists().await?.unwrap_or(0),
            Split::Plain | Split::Opening => filling.main_list().await?,
        };
        metrics::counter!("tasker_rebuilt_lists_total").increment(1);
        metrics::counter!("tasker_rebuilt_hints_total").increment(hints as u64);
        Ok(hints)
    }

    /// Removes the hints of a queue whose tasks are no longer pending.
    async fn sweep(&self, queue: &QueueName) -> Result<(), DutyError> {
        let groups = bounded(groups(&self.db, self.worker_timeout.as_secs_f64())).await?;
        let sweep = Sweep {
            db: &self.db,
            redis: &self.queue,
            queue,
        };
        let stale = sweep.stale_hints().await?;
        let fleet = Fleet::of(&groups, queue);
        let parked = sweep.parked_hints(fleet.routable()).await?;
        if stale + parked == 0 {
            // the excess is an id on two lists, correct in each, so no sweep of one list finds it
            self.rebuild(queue).await?;
        }
        info!(%queue, hints = stale + parked, "removed stale hints");
        Ok(())
    }
}

impl Duty for Rebuilder {
    const NAME: &'static str = "rebuilder";
    type Outcome = Vec<(QueueName, usize)>;

    async fn run(&mut self) -> Result<Self::Outcome, DutyError> {
        self.run_once(Instant::now()).await
    }

    fn report(&self, rebuilt: &Self::Outcome) {
        for (queue, hints) in rebuilt {
            self.status.record_rebuild();
            info!(%queue, hints, "rebuilt a list that lacked hints");
        }
    }

    fn pause(&self, _: Option<&Self::Outcome>) -> Duration {
        CHECK_INTERVAL
    }
}

/// Returns true if lists with this number of hints, last compared at `before`, are due for a comparison at
/// `now`.
fn is_due(before: Option<Instant>, hints: u64, now: Instant) -> bool {
    match before {
        Some(at) if hints > LONG_LIST => now.duration_since(at) >= LONG_LIST_INTERVAL,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_compared_once_a_minute_and_a_short_one_each_time() {
        let now = Instant::now();
        assert!(is_due(None, LONG_LIST + 1, now));
        assert!(is_due(Some(now), LONG_LIST, now));
        assert!(!is_due(Some(now), LONG_LIST + 1, now));
        assert!(is_due(Some(now), LONG_LIST + 1, now + LONG_LIST_INTERVAL));
    }
}
