//! Measures what queues take in and give out, for all servers, and shows the pace and the workers that each queue needs as
//! gauges. A server that leads no more shows 0 for each of them.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::queue::RedisQueues;
use tasker_shared::store::scaling::{QueueFacts, facts, sample};
use tasker_shared::store::{self, PgPool};
use tasker_shared::task::QueueName;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::asked;
use super::journal::Page;
use super::leader_gauges::LeaderGauges;
use crate::queues::DeclaredQueues;
use crate::scaling::{Advice, TARGET_LATENCY, advise};

/// Time between samples: workers bring new totals no more often.
const INTERVAL: Duration = Duration::from_secs(10);

/// The gauges of a queue.
const GAUGES: [&str; 4] = [
    "tasker_queue_arrival_rate",
    "tasker_queue_drain_rate",
    "tasker_queue_time_to_drain_seconds",
    "tasker_queue_suggested_workers",
];

/// Samples the queues.
#[derive(Debug)]
pub struct Sampler {
    db: PgPool,
    /// Redis, where there is one.
    queue: Option<Arc<RedisQueues>>,
    queues: DeclaredQueues,
    worker_timeout: Duration,
    gauges: LeaderGauges,
}

impl Sampler {
    /// A sampler of `queues`. A worker silent for `worker_timeout` does not count as live.
    pub fn new(
        db: PgPool,
        queue: Option<Arc<RedisQueues>>,
        queues: impl Into<DeclaredQueues>,
        worker_timeout: Duration,
    ) -> Self {
        Self {
            db,
            queue,
            queues: queues.into(),
            worker_timeout,
            gauges: LeaderGauges::default(),
        }
    }

    /// Samples and shows until `stop`. After a failure what was found last stays.
    pub async fn run(mut self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            page.pass(self.run_once()).await;
            stop.run_until_cancelled(sleep(INTERVAL)).await;
        }
    }

    /// Samples and shows once; answers what the queues need, in their order.
    pub async fn run_once(&mut self) -> store::Result<Vec<Advice>> {
        let queues = self.queues.snapshot();
        let depths = self.depths(&queues).await;
        let timeout = self.worker_timeout.as_secs_f64();
        asked(sample(&self.db, &queues, &depths, timeout)).await?;
        let facts = asked(facts(&self.db, &queues, timeout)).await?;
        let advice: Vec<Advice> = facts.iter().map(advise_on).collect();
        self.show(&facts, &advice);
        Ok(advice)
    }

    /// Sets the gauges; those of a queue that is no longer declared show 0.
    fn show(&mut self, facts: &[QueueFacts], advice: &[Advice]) {
        let values: Vec<[f64; 4]> = advice.iter().map(values).collect();
        for (place, name) in GAUGES.into_iter().enumerate() {
            let of_queues = facts
                .iter()
                .zip(&values)
                .map(|(facts, values)| (facts.name.as_str(), values[place]));
            self.gauges.set_all(name, "queue", of_queues);
        }
    }

    /// The lengths of the lists; unknown while Redis is away.
    async fn depths(&self, queues: &[QueueName]) -> Vec<Option<i64>> {
        let depths = match &self.queue {
            Some(queue) => queue.depths(queues).await.ok(),
            None => None,
        };
        let depths = depths.unwrap_or_default();
        let known = |place: usize| depths.get(place).and_then(|depth| i64::try_from(*depth).ok());
        (0..queues.len()).map(known).collect()
    }
}

/// Returns the values of [`GAUGES`] for a queue.
fn values(advice: &Advice) -> [f64; 4] {
    let rate = |rate: fn(&crate::scaling::Rates) -> f64| advice.rates.as_ref().map_or(f64::NAN, rate);
    // not known before the second sample, and then infinite where it never drains
    let never = if advice.rates.is_some() {
        f64::INFINITY
    } else {
        f64::NAN
    };
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let suggested = advice.suggested_workers as f64;
    [
        rate(|rates| rates.arrival),
        rate(|rates| rates.drain),
        advice.time_to_drain_seconds.unwrap_or(never),
        suggested,
    ]
}

/// Advises on a queue as it was when the last sample was taken, the moment before.
fn advise_on(facts: &QueueFacts) -> Advice {
    let backlog = facts.samples.last().map_or(0, |last| last.backlog);
    advise(facts, backlog, TARGET_LATENCY)
}
