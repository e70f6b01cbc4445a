//! Makes lists that lost hints right again, so that `llen` is true and order is kept. Until then the workers' net finds what a
//! list lacks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_shared::queue::Queue;
use tasker_shared::store::PgPool;
use tasker_shared::store::rebuild::has_more_than;
use tasker_shared::task::{QueueName, TaskId};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::asked;
use super::journal::{Page, PassError};
use super::make_list::make_list;
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
    queue: Arc<Queue>,
    queues: DeclaredQueues,
    /// Tells the lists that this rebuilder makes from those of others.
    maker: String,
    /// When the lists were compared last.
    last: Option<Instant>,
    /// When each list was compared last, and whether it lacked hints then.
    compared: HashMap<QueueName, (Instant, bool)>,
}

impl Rebuilder {
    /// A rebuilder of the lists of `queues`.
    pub fn new(db: PgPool, queue: Arc<Queue>, queues: impl Into<DeclaredQueues>) -> Self {
        let maker = TaskId::generate().to_string();
        Self {
            db,
            queue,
            queues: queues.into(),
            maker,
            last: None,
            compared: HashMap::new(),
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

    /// Compares the lists that are due; lists of a Redis that lost its data all are, and one look is enough for them.
    async fn compare(&mut self, now: Instant, intact: bool) -> Result<Vec<(QueueName, usize)>, PassError> {
        let queues = self.queues.snapshot();
        let depths = self.queue.depths(&queues).await?;
        let mut rebuilt = Vec::new();
        for (queue, depth) in queues.iter().cloned().zip(depths) {
            let before = self.compared.get(&queue).copied();
            if intact && !is_due(before, depth, now) {
                continue;
            }
            let hints = i64::try_from(depth).unwrap_or(i64::MAX - 1);
            let lacks = asked(has_more_than(&self.db, &queue, hints)).await?;
            let twice = before.is_some_and(|(_, lacked)| lacked);
            if lacks && (twice || !intact) {
                let hints = make_list(&self.db, &self.queue, &queue, &self.maker).await?;
                metrics::counter!("tasker_rebuilt_lists_total").increment(1);
                metrics::counter!("tasker_rebuilt_hints_total").increment(hints as u64);
                self.compared.insert(queue.clone(), (now, false));
                rebuilt.push((queue, hints));
            } else {
                self.compared.insert(queue, (now, lacks));
            }
        }
        Ok(rebuilt)
    }
}

/// Whether a list of this depth is to be compared at `now`.
fn is_due(before: Option<(Instant, bool)>, depth: u64, now: Instant) -> bool {
    match before {
        Some((at, _)) if depth > LONG_LIST => now.duration_since(at) >= LONG_LIST_INTERVAL,
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
        assert!(is_due(Some((now, false)), LONG_LIST, now));
        assert!(!is_due(Some((now, true)), LONG_LIST + 1, now));
        assert!(is_due(Some((now, true)), LONG_LIST + 1, now + LONG_LIST_INTERVAL));
    }
}
