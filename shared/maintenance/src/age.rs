//! Priority aging: publishes to Redis how many tasks at the head of each list have waited longer than
//! `PRIORITY_AGE_LIMIT`.
//!
//! Workers that serve both classes may take that number of tasks as if they were one class higher. The
//! highest class does not age.

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::QueueName;
use tasker_queue::RedisQueues;
use tasker_store::{ObservedPool, age};

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;
use crate::leader_gauges::LeaderGauges;

/// Time between runs: half of the limit, within these bounds.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);
/// Number of runs that may fail before the published counts expire.
const RUNS_KEPT: u32 = 3;
/// Maximum number of starved tasks counted per list, which bounds the cost of a run.
const HEADS_MAX: i64 = 10_000;

/// The duty that counts starved tasks and publishes their numbers. The last published counts expire in Redis.
#[derive(Debug)]
pub struct Ager {
    db: ObservedPool,
    queue: Arc<RedisQueues>,
    limit: Duration,
    interval: Duration,
    /// True if the last run published a count above zero. While it is false, zero counts are not published.
    published: bool,
    gauges: LeaderGauges,
}

impl Ager {
    /// Creates the duty. A task is starved once it has waited longer than `limit`.
    pub fn new(db: impl Into<ObservedPool>, queue: Arc<RedisQueues>, limit: Duration) -> Self {
        Self {
            db: db.into(),
            queue,
            limit,
            interval: (limit / 2).clamp(*INTERVAL.start(), *INTERVAL.end()),
            // an earlier leader may have published counts that this one has to take back
            published: true,
            gauges: LeaderGauges::default(),
        }
    }

    /// Runs once; returns the number of starved tasks of each list.
    pub async fn run_once(&mut self) -> Result<Vec<(QueueName, u64)>, DutyError> {
        let ageing: Vec<QueueName> = QueueName::classes()
            .into_iter()
            .filter(|class| class.class_above().is_some())
            .collect();
        let counted = bounded(age::starved(
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
                .publish_starved(&heads, self.interval * RUNS_KEPT)
                .await?;
        }
        self.published = any;
        #[expect(clippy::cast_precision_loss, reason = "no more than HEADS_MAX")]
        let shown = heads.iter().map(|(name, count)| (name.as_str(), *count as f64));
        self.gauges.set_all("tasker_queue_starved_tasks", "queue", shown);
        Ok(heads)
    }
}

impl Duty for Ager {
    const NAME: &'static str = "ager";
    type Outcome = Vec<(QueueName, u64)>;

    async fn run(&mut self) -> Result<Self::Outcome, DutyError> {
        self.run_once().await
    }

    fn pause(&self, _: Option<&Self::Outcome>) -> Duration {
        self.interval
    }
}
