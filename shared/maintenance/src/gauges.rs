//! Gauges of the whole system, measured by the leader every few seconds, so that a scrape queries neither
//! Postgres nor Redis.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tasker_core::task::QueueName;
use tasker_store::fleet::{Group, groups};
use tasker_store::gauges::{PendingType, Reading, pending_types, read};
use tasker_store::{self as store, partitions};

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;
use crate::leader_gauges::LeaderGauges;
use crate::queue_sources::QueueSources;
use crate::router::Fleet;

/// Time between readings.
const INTERVAL: Duration = Duration::from_secs(5);
/// Pause after counting pending tasks by type, as a multiple of the time that the count took: at most 5 % of
/// one processor.
const PENDING_REST: u32 = 20;
/// The maximum number of pairs of a queue and a type whose pending tasks are shown.
const PAIRS_MAX: usize = 1_000;
/// Time between checks of the partitions, which change once a day.
const PARTITIONS_INTERVAL: Duration = Duration::from_mins(5);

/// The duty that measures the gauges.
#[derive(Debug)]
pub struct GaugeKeeper {
    sources: QueueSources,
    gauges: LeaderGauges,
    /// The earliest time of the next count of pending tasks.
    count_at: Option<Instant>,
    /// The time of the last check of the partitions.
    partitions_at: Option<Instant>,
}

impl GaugeKeeper {
    /// Creates the duty.
    pub fn new(sources: QueueSources) -> Self {
        Self {
            sources,
            gauges: LeaderGauges::default(),
            count_at: None,
            partitions_at: None,
        }
    }

    /// Runs once at the time `now`; returns what it read.
    pub async fn run_once(&mut self, now: Instant) -> store::Result<Reading> {
        self.show_depths().await;
        let timeout = self.sources.worker_timeout.as_secs_f64();
        let reading = bounded(read(&self.sources.db, timeout)).await?;
        self.show(&reading);
        self.show_pending(&reading, now).await?;
        self.show_partitions(now).await?;
        Ok(reading)
    }

    /// Sets the lengths of the lists; `NaN` while Redis is unavailable.
    async fn show_depths(&mut self) {
        if self.sources.redis.is_none() {
            return;
        }
        let queues = self.sources.queues.snapshot();
        let depths = self.sources.depths(&queues).await;
        #[expect(clippy::cast_precision_loss, reason = "a length is far below 2^52")]
        let depth = |place: usize| {
            let depth = depths.as_ref().and_then(|depths| depths.get(place));
            depth.map_or(f64::NAN, |depth| *depth as f64)
        };
        let named = queues
            .iter()
            .enumerate()
            .map(|(place, name)| (name.as_str(), depth(place)));
        self.gauges.set_all("tasker_queue_depth", "queue", named);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn show(&mut self, reading: &Reading) {
        let gauges = &mut self.gauges;
        for (name, value) in [
            ("workers_total", reading.workers as f64),
            (
                "tasker_queues_without_workers",
                reading.queues_without_workers() as f64,
            ),
            ("tasker_dead_letters", reading.dead_letters as f64),
            ("tasker_oldest_snapshot_seconds", reading.oldest_snapshot_seconds),
            ("tasker_promotion_lag_seconds", reading.promotion_lag_seconds),
        ] {
            gauges.set(name, value);
        }
        let counts = |counts: &[i64]| -> Vec<f64> { counts.iter().map(|count| *count as f64).collect() };
        let ages = reading.queue_ages_seconds.iter().map(|age| age.max(0.0));
        let paused = reading
            .queues_paused
            .iter()
            .map(|paused| f64::from(u8::from(*paused)));
        for (name, label, names, values) in [
            (
                "tasks_running",
                "type",
                &reading.running_types,
                counts(&reading.running_counts),
            ),
            (
                "tasker_workers",
                "status",
                &reading.worker_states,
                counts(&reading.worker_counts),
            ),
            (
                "tasker_queue_workers",
                "queue",
                &reading.queues,
                counts(&reading.queue_workers),
            ),
            (
                "tasker_queue_oldest_age_seconds",
                "queue",
                &reading.queues,
                ages.collect(),
            ),
            ("tasker_queue_paused", "queue", &reading.queues, paused.collect()),
        ] {
            gauges.set_all(name, label, names.iter().map(String::as_str).zip(values));
        }
    }

    /// Sets the gauges of pending tasks by type, and by queue and type. The longer the count takes, the less
    /// often it runs.
    async fn show_pending(&mut self, reading: &Reading, now: Instant) -> store::Result<()> {
        if self.count_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        let began = Instant::now();
        let pending = if reading.something_is_pending() {
            bounded(pending_types(&self.sources.db)).await?
        } else {
            Vec::new()
        };
        self.count_at = Some(now + began.elapsed() * PENDING_REST);
        self.show_pending_types(&pending);
        if self.sources.redis.is_none() {
            let timeout = self.sources.worker_timeout.as_secs_f64();
            let live = bounded(groups(&self.sources.db, timeout)).await?;
            let unroutable = unroutable(&pending, &live);
            self.gauges
                .set_all("tasker_queue_unroutable", "queue", unroutable);
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn show_pending_types(&mut self, pending: &[PendingType]) {
        let mut by_type: BTreeMap<&str, f64> = BTreeMap::new();
        for found in pending {
            *by_type.entry(&found.task_name).or_default() += found.count as f64;
        }
        self.gauges.set_all("tasks_pending", "type", by_type);
        let pairs = pending
            .iter()
            .take(PAIRS_MAX)
            .map(|found| ([&*found.queue, &*found.task_name], found.count as f64));
        self.gauges
            .set_all_by("tasker_queue_type_pending", ["queue", "type"], pairs);
    }

    async fn show_partitions(&mut self, now: Instant) -> store::Result<()> {
        let seen = self.partitions_at;
        if seen.is_some_and(|at| now.duration_since(at) < PARTITIONS_INTERVAL) {
            return Ok(());
        }
        let days = bounded(partitions::days_ahead(&self.sources.db)).await?;
        self.partitions_at = Some(now);
        #[expect(clippy::cast_precision_loss, reason = "two weeks")]
        self.gauges.set("tasker_partition_days_ahead", days as f64);
        Ok(())
    }
}

impl Duty for GaugeKeeper {
    const NAME: &'static str = "gauges";
    type Outcome = Reading;

    async fn run(&mut self) -> Result<Reading, DutyError> {
        Ok(self.run_once(Instant::now()).await?)
    }

    // also after a failure, with the gauges at their last values: a leader that cannot reach Postgres loses
    // its lease soon, and then sets them to 0
    fn pause(&self, _: Option<&Reading>) -> Duration {
        INTERVAL
    }
}

/// Returns the number of pending tasks of each queue whose type no live worker of the queue registers. For
/// `PollingOnly`, where there are no parked hints to count.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn unroutable<'a>(pending: &'a [PendingType], live: &[Group]) -> BTreeMap<&'a str, f64> {
    let mut counts = BTreeMap::new();
    for found in pending {
        let Ok(queue) = QueueName::parse(&found.queue) else {
            continue;
        };
        let fleet = Fleet::of(live, &queue);
        if fleet
            .routable()
            .is_some_and(|types| !types.contains(&found.task_name))
        {
            *counts.entry(&*found.queue).or_default() += found.count as f64;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_types_that_no_live_worker_of_their_queue_registers_are_unroutable() {
        let of = |queue: &QueueName, task_name: &str, count: i64| PendingType {
            queue: queue.to_string(),
            task_name: task_name.to_owned(),
            count,
        };
        let (high, default) = (QueueName::high(), QueueName::default_class());
        let pending = [
            of(&default, "known", 9),
            of(&default, "unknown", 4),
            of(&default, "unknown too", 2),
            of(&high, "unknown", 1),
        ];
        let live = [Group {
            queues: vec![default.clone()],
            task_names: vec!["known".to_owned()],
            pops_by_type: true,
        }];
        let expected = BTreeMap::from([(default.as_str(), 6.0)]);
        assert_eq!(unroutable(&pending, &live), expected, "no worker serves `high`");
    }
}
