//! The metrics of a process, and their text for Prometheus.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::{Component, TelemetryError, catalogue, process};

/// Buckets from a fast statement to the longest usual task.
const BUCKETS_SECONDS: [f64; 18] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 600.0,
];
/// Buckets from a single task to the largest batch request.
const BUCKETS_TASKS: [f64; 12] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 5_000.0, 10_000.0,
];
/// Time between upkeep runs, which drain the histograms: with a longer one, a worker with tens of thousands
/// of short runs per second would buffer too many samples.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The metrics of this process.
#[derive(Debug, Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// The content type of the text for `GET /metrics`.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Installs the recorder behind the macros of the `metrics` crate, once per process, and describes the
    /// metrics of `component`.
    pub fn install(component: Component) -> Result<Self, TelemetryError> {
        let handle = builder().map_err(TelemetryError::Metrics)?.install_recorder();
        let handle = handle.map_err(TelemetryError::Metrics)?;
        catalogue::describe(component);
        process::begin(component);
        Ok(Self { handle })
    }

    /// Returns metrics without an installed recorder, for tests that run several systems in one process.
    pub fn detached() -> Self {
        Self {
            handle: PrometheusBuilder::new().build_recorder().handle(),
        }
    }

    /// Returns the text for `GET /metrics`.
    pub fn render(&self) -> String {
        process::show();
        self.handle.render()
    }

    /// Drains the buffers of the histograms until `stop`; otherwise they would grow while no scrape happens.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => self.handle.run_upkeep(),
            }
        }
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        // buckets make histograms: without them the exporter shows summaries, which cannot be aggregated
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS_SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_tasks".to_owned()), &BUCKETS_TASKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_tasks_become_histograms_with_buckets() {
        let recorder = builder().expect("buckets").build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("task_duration_seconds").record(0.02);
            metrics::histogram!("tasker_claim_batch_tasks").record(7.0);
        });
        let text = handle.render();
        for line in [
            "task_duration_seconds_bucket{le=\"0.025\"} 1",
            "tasker_claim_batch_tasks_bucket{le=\"10\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
