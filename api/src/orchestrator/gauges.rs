//! Gauges of the whole system, shown by the leader alone. One that leads no more shows 0 for each of them, so that adding up or
//! taking the largest over all servers gives what the leader says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tasker_shared::queue::Queue;
use tasker_shared::store::gauges::{Reading, read};
use tasker_shared::store::{self, PgPool};
use tasker_shared::task::QueueName;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::asked;
use crate::error::describe;

/// Time between readings.
const INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the gauges.
#[derive(Debug)]
pub struct GaugeKeeper {
    db: PgPool,
    /// Redis, where there is one.
    queue: Option<Arc<Queue>>,
    queues: Vec<QueueName>,
    worker_timeout: Duration,
    /// Every type that has a gauge: one that runs no more is shown as 0.
    types: BTreeSet<String>,
}

impl GaugeKeeper {
    /// A keeper over the lists of `queues` and the table. A worker silent for `worker_timeout` does not count as live.
    pub fn new(
        db: PgPool,
        queue: Option<Arc<Queue>>,
        queues: Vec<QueueName>,
        worker_timeout: Duration,
    ) -> Self {
        Self {
            db,
            queue,
            queues,
            worker_timeout,
            types: BTreeSet::new(),
        }
    }

    /// Reads and shows until `stop`. After a failure what was read last stays: a leader that cannot reach Postgres does not
    /// lead for long.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failed = false;
        while !stop.is_cancelled() {
            let result = self.run_once().await;
            // an outage lasts for many passes and is told once
            if let (Err(error), false) = (&result, failed) {
                warn!(cause = describe(error), "gauges: pass failed");
            }
            failed = result.is_err();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Reads and shows once.
    pub async fn run_once(&mut self) -> store::Result<Reading> {
        self.show_depths().await;
        let reading = asked(read(&self.db, self.worker_timeout.as_secs_f64())).await?;
        self.show(&reading);
        Ok(reading)
    }

    /// The lengths of the lists; while Redis is away they are not known.
    async fn show_depths(&self) {
        let Some(queue) = &self.queue else { return };
        let depths = queue.depths(&self.queues).await.ok();
        for (place, name) in self.queues.iter().enumerate() {
            let depth = depths.as_ref().and_then(|depths| depths.get(place));
            #[expect(clippy::cast_precision_loss, reason = "a length is far below 2^52")]
            let depth = depth.map_or(f64::NAN, |depth| *depth as f64);
            show_depth(name, depth);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn show(&mut self, reading: &Reading) {
        gauge!("workers_total").set(reading.workers as f64);
        gauge!("tasker_queues_without_workers").set(reading.queues_without_workers as f64);
        gauge!("tasker_dead_letters").set(reading.dead_letters as f64);
        gauge!("tasker_oldest_snapshot_seconds").set(reading.oldest_snapshot_seconds);
        self.types.extend(reading.running_types.iter().cloned());
        for name in &self.types {
            let place = reading.running_types.iter().position(|running| running == name);
            let count = place.and_then(|place| reading.running_counts.get(place));
            show_running(name, count.map_or(0.0, |count| *count as f64));
        }
    }
}

impl Drop for GaugeKeeper {
    fn drop(&mut self) {
        for name in [
            "workers_total",
            "tasker_queues_without_workers",
            "tasker_dead_letters",
            "tasker_oldest_snapshot_seconds",
        ] {
            gauge!(name).set(0.0);
        }
        for name in &self.types {
            show_running(name, 0.0);
        }
        if self.queue.is_some() {
            for name in &self.queues {
                show_depth(name, 0.0);
            }
        }
    }
}

fn show_running(name: &str, count: f64) {
    gauge!("tasks_running", "type" => name.to_owned()).set(count);
}

fn show_depth(name: &QueueName, depth: f64) {
    gauge!("tasker_queue_depth", "queue" => name.to_string()).set(depth);
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    fn reading(types: &[(&str, i64)]) -> Reading {
        Reading {
            workers: 2,
            queues_without_workers: 1,
            dead_letters: 0,
            running_types: types.iter().map(|(name, _)| (*name).to_owned()).collect(),
            running_counts: types.iter().map(|(_, count)| *count).collect(),
            oldest_snapshot_seconds: 7.5,
        }
    }

    #[tokio::test]
    async fn a_type_that_runs_no_more_and_a_leader_that_resigned_show_nothing() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = |line: &str| recorder.handle().render().lines().any(|shown| shown == line);
        let db = PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/none").expect("a URL");
        let mut keeper = GaugeKeeper::new(db, None, vec![], Duration::from_secs(30));
        metrics::with_local_recorder(&recorder, || keeper.show(&reading(&[("a", 3), ("b", 1)])));
        assert!(shown(r#"tasks_running{type="a"} 3"#) && shown(r#"tasks_running{type="b"} 1"#));
        assert!(shown("tasker_queues_without_workers 1") && shown("workers_total 2"));
        assert!(shown("tasker_oldest_snapshot_seconds 7.5"));
        metrics::with_local_recorder(&recorder, || keeper.show(&reading(&[("b", 2)])));
        assert!(shown(r#"tasks_running{type="a"} 0"#) && shown(r#"tasks_running{type="b"} 2"#));
        metrics::with_local_recorder(&recorder, || drop(keeper));
        assert!(shown(r#"tasks_running{type="b"} 0"#) && shown("workers_total 0"));
        assert!(shown("tasker_queues_without_workers 0") && shown("tasker_oldest_snapshot_seconds 0"));
    }
}
