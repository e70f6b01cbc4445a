//! Makes lists right again that lack hints or hold stale ones, so that `llen` is true and order is kept. Until then the polling
//! fallback of the workers finds what a list lacks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_shared::queue::{RedisQueues, Split};
use tasker_shared::store::PgPool;
use tasker_shared::store::fleet::groups;
use tasker_shared::store::rebuild::compare;
use tasker_shared::task::{QueueName, TaskId};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::asked;
use super::fill::Filling;
use super::journal::{Page, PassError};
use super::router::Fleet;
use super::sweep::Sweep;
use crate::queues::DeclaredQueues;

/// Time between looks whether Redis lost its data.
const LOOK: Duration = Duration::from_secs(1);
/// Time between comparisons. A list has to lack hints in two of them, for pops and claims go on meanwhile.
const INTERVAL: Duration = Duration::from_secs(5);
/// A longer list is compared less often, since counting as many rows is not free.
const LONG_LIST: u64 = 10_000;
/// Time between comparisons of a long list.
const LONG_LIST_INTERVAL: Duration = Duration::from_mins(1);

/// Compares lists with the table.
#[derive(Debug)]
pub struct Rebuilder {
    db: PgPool,
    queue: Arc<RedisQueues>,
    queues: DeclaredQueues,
    /// Tells the lists that this rebuilder makes from those of others.
    maker: String,
    /// When the lists were compared last.
    last: Option<Instant>,
    /// When each list was compared last, and with what result.
    compared: HashMap<QueueName, (Instant, Difference)>,
    /// Silence after which a worker does not count as live.
    worker_timeout: Duration,
}

/// How the hints of a queue differ from its pending rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    None,
    /// Rows without hints.
    Lacks,
    /// Hints without rows.
    Exceeds,
}

impl Rebuilder {
    /// A rebuilder of the lists of `queues`.
    pub fn new(
        db: PgPool,
        queue: Arc<RedisQueues>,
        queues: impl Into<DeclaredQueues>,
        worker_timeout: Duration,
    ) -> Self {
        let maker = TaskId::generate().to_string();
        Self {
            db,
            queue,
            queues: queues.into(),
            maker,
            last: None,
            compared: HashMap::new(),
            worker_timeout,
        }
    }

    /// Rebuilds until `stop`.
    pub async fn run(mut self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let rebuilt = page.pass(Box::pin(self.run_once(Instant::now()))).await;
            for (queue, hints) in rebuilt.unwrap_or_default() {
                page.rebuilt();
                info!(%queue, hints, "rebuilder: a list lacked hints and was made anew");
            }
            stop.run_until_cancelled(sleep(LOOK)).await;
        }
    }

    /// One look at the time `now`; returns the lists that were made anew, with their lengths.
    pub async fn run_once(&mut self, now: Instant) -> Result<Vec<(QueueName, usize)>, PassError> {
        let intact = self.queue.lists_are_marked().await?;
        let waited = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        if intact && !waited {
            return Ok(Vec::new());
        }
        self.last = Some(now);
        let rebuilt = self.compare(now, intact).await?;
        if !intact {
            self.queue.mark_lists().await?;
        }
        Ok(rebuilt)
    }

    /// Compares the lists that are due; lists of a Redis that lost its data all are, and one comparison is enough for them.
    async fn compare(&mut self, now: Instant, intact: bool) -> Result<Vec<(QueueName, usize)>, PassError> {
        let queues = self.queues.snapshot();
        let depths = self.queue.depths(&queues).await?;
        let parked = self.queue.unroutable(&queues).await?;
        let hints = depths
            .into_iter()
            .zip(parked)
            .map(|(depth, parked)| depth + parked);
        let due = queues.iter().zip(hints).filter(|(queue, hints)| {
            let before = self.compared.get(*queue);
            !intact || is_due(before.map(|(at, _)| *at), *hints, now)
        });
        let (due, hints): (Vec<QueueName>, Vec<i64>) = due
            .map(|(queue, hints)| (queue.clone(), i64::try_from(hints).unwrap_or(i64::MAX - 1)))
            .unzip();
        let comparisons = asked(compare(&self.db, &due, &hints)).await?;
        let mut rebuilt = Vec::new();
        for (queue, found) in due.into_iter().zip(comparisons) {
            let before = self.compared.get(&queue).copied();
            let difference = match (found.lacks, found.exceeds) {
                (true, _) => Difference::Lacks,
                (false, true) => Difference::Exceeds,
                (false, false) => Difference::None,
            };
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

    /// Makes the lists of a queue from the table; returns the number of their hints.
    async fn rebuild(&self, queue: &QueueName) -> Result<usize, PassError> {
        let groups = asked(groups(&self.db, self.worker_timeout.as_secs_f64())).await?;
        let fleet = Fleet::of(&groups, queue);
        let filling = Filling {
            db: &self.db,
            redis: &self.queue,
            queue,
            maker: &self.maker,
            registered: fleet.routable(),
        };
        let hints = match self.queue.split(queue).await? {
            Split::Split => filling.type_lists().await?.unwrap_or(0),
            Split::Plain | Split::Opening => filling.main_list().await?,
        };
        metrics::counter!("tasker_rebuilt_lists_total").increment(1);
        metrics::counter!("tasker_rebuilt_hints_total").increment(hints as u64);
        Ok(hints)
    }

    /// Removes the hints of a queue whose tasks no longer wait.
    async fn sweep(&self, queue: &QueueName) -> Result<(), PassError> {
        let groups = asked(groups(&self.db, self.worker_timeout.as_secs_f64())).await?;
        let sweep = Sweep {
            db: &self.db,
            redis: &self.queue,
            queue,
        };
        let stale = sweep.stale_hints().await?;
        let fleet = Fleet::of(&groups, queue);
        let parked = sweep.parked_hints(fleet.routable()).await?;
        if stale + parked == 0 {
            // an id is in two lists, where it is right in each
            self.rebuild(queue).await?;
        }
        info!(%queue, hints = stale + parked, "removed stale hints from the lists of a queue");
        Ok(())
    }
}

/// Whether lists with this many hints, compared last at `before`, are to be compared at `now`.
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
