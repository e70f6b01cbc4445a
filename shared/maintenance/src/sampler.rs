//! Samples the counters of the queues for scaling advice, and sets gauges for the rates and the number of
//! workers that each queue needs. The samples are rows, so that every server can answer from them.

use std::time::Duration;

use tasker_core::task::QueueName;
use tasker_store as store;
use tasker_store::scaling::{QueueFacts, facts, sample};

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;
use crate::leader_gauges::LeaderGauges;
use crate::queue_sources::QueueSources;
use crate::scaling::{Advice, TARGET_LATENCY, advise};

/// Time between samples. Workers report new totals no more often.
const INTERVAL: Duration = Duration::from_secs(10);

/// The gauges of a queue.
const GAUGES: [&str; 4] = [
    "tasker_queue_arrival_rate",
    "tasker_queue_drain_rate",
    "tasker_queue_time_to_drain_seconds",
    "tasker_queue_suggested_workers",
];

/// The duty that samples the queues.
#[derive(Debug)]
pub struct Sampler {
    sources: QueueSources,
    gauges: LeaderGauges,
}

impl Sampler {
    /// Creates the duty.
    pub fn new(sources: QueueSources) -> Self {
        Self {
            sources,
            gauges: LeaderGauges::default(),
        }
    }

    /// Runs once; returns the advice for each queue, in their order.
    pub async fn run_once(&mut self) -> store::Result<Vec<Advice>> {
        let queues = self.sources.queues.snapshot();
        let depths = self.depths(&queues).await;
        let (db, timeout) = (&self.sources.db, self.sources.worker_timeout.as_secs_f64());
        bounded(sample(db, &queues, &depths, timeout)).await?;
        let facts = bounded(facts(db, &queues, timeout)).await?;
        let advice: Vec<Advice> = facts.iter().map(advise_on).collect();
        self.show(&facts, &advice);
        Ok(advice)
    }

    /// Sets the gauges; those of a queue that is not declared any more become 0.
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

    /// Returns the lengths of the lists; `None` for those that are unknown, whose rows the sample counts
    /// instead.
    async fn depths(&self, queues: &[QueueName]) -> Vec<Option<i64>> {
        let depths = self.sources.depths(queues).await.unwrap_or_default();
        let known = |place: usize| depths.get(place).and_then(|depth| i64::try_from(*depth).ok());
        (0..queues.len()).map(known).collect()
    }
}

impl Duty for Sampler {
    const NAME: &'static str = "sampler";
    type Outcome = Vec<Advice>;

    async fn run(&mut self) -> Result<Vec<Advice>, DutyError> {
        Ok(self.run_once().await?)
    }

    // also after a failure, with the gauges at their last values
    fn pause(&self, _: Option<&Vec<Advice>>) -> Duration {
        INTERVAL
    }
}

/// Returns the values of [`GAUGES`] for a queue.
fn values(advice: &Advice) -> [f64; 4] {
    let rate = |rate: fn(&crate::scaling::Rates) -> f64| advice.rates.as_ref().map_or(f64::NAN, rate);
    // unknown before the second sample, after it infinite for a queue that does not drain
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

/// Returns the advice for a queue, with the backlog of the sample that was just taken.
fn advise_on(facts: &QueueFacts) -> Advice {
    let backlog = facts.samples.last().map_or(0, |last| last.backlog);
    advise(facts, backlog, TARGET_LATENCY)
}
