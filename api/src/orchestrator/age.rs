//! Publishes how many heads of each list have waited longer than `PRIORITY_AGE_LIMIT`: so many may be taken as if they were one
//! class higher. Only classes with one above them age.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::queue::RedisQueues;
use tasker_shared::store::{PgPool, age};
use tasker_shared::task::QueueName;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::asked;
use super::journal::{Page, PassError};
use super::leader_gauges::LeaderGauges;

/// Time between passes, for limits that are not much shorter themselves.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);
/// Passes that may fail until what was published is forgotten.
const PASSES_KEPT: u32 = 3;
/// Most heads of one list that are counted, which bounds what a pass costs.
const HEADS_MAX: i64 = 10_000;

/// Counts and publishes aged heads.
#[derive(Debug)]
pub struct Ager {
    db: PgPool,
    queue: Arc<RedisQueues>,
    limit: Duration,
    interval: Duration,
    /// Whether the last pass published something: while nothing is aged, Redis is not asked.
    published: bool,
    gauges: LeaderGauges,
}

impl Ager {
    /// An ager that calls a task aged when it has waited longer than `limit`.
    pub fn new(db: PgPool, queue: Arc<RedisQueues>, limit: Duration) -> Self {
        Self {
            db,
            queue,
            limit,
            interval: (limit / 2).clamp(*INTERVAL.start(), *INTERVAL.end()),
            // an earlier leader may have
            published: true,
            gauges: LeaderGauges::default(),
        }
    }

    /// Publishes until `stop`. What was published last is forgotten by itself.
    pub async fn run(mut self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            page.pass(self.run_once()).await;
            stop.run_until_cancelled(sleep(self.interval)).await;
        }
    }

    /// One pass; returns how many heads of each list are aged.
    pub async fn run_once(&mut self) -> Result<Vec<(QueueName, u64)>, PassError> {
        let ageing: Vec<QueueName> = QueueName::classes()
            .into_iter()
            .filter(|class| class.class_above().is_some())
            .collect();
        let counted = asked(age::starved(
            &self.db,
            &ageing,
            self.limit.as_secs_f64(),
            HEADS_MAX,
        ))
        .await?;
        let heads: Vec<(QueueName, u64)> = ageing
            .into_iter()
            .map(|name| {
                let count = counted.iter().find(|(counted, _)| *counted == name);
                (name, count.map_or(0, |(_, count)| count.unsigned_abs()))
            })
            .collect();
        let any = heads.iter().any(|(_, count)| *count > 0);
        if any || self.published {
            self.queue
                .publish_starved(&heads, self.interval * PASSES_KEPT)
                .await?;
        }
        self.published = any;
        #[expect(clippy::cast_precision_loss, reason = "no more than HEADS_MAX")]
        let shown = heads.iter().map(|(name, count)| (name.as_str(), *count as f64));
        self.gauges.set_all("tasker_queue_starved_tasks", "queue", shown);
        Ok(heads)
    }
}
