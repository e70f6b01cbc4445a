//! Counts workers that join, leave and die, from the differences between two checks of the leader.

use std::collections::HashSet;

use metrics::counter;

/// The workers that the last check saw.
#[derive(Debug, Default)]
pub(crate) struct FleetChanges {
    /// `None` before the first check: the workers of that one joined earlier, and are not counted.
    seen: Option<HashSet<String>>,
}

impl FleetChanges {
    /// Counts the differences to the last check; `workers` are all that are alive.
    pub(crate) fn observe<'a>(&mut self, workers: impl Iterator<Item = &'a str>) {
        let now: HashSet<String> = workers.map(ToOwned::to_owned).collect();
        if let Some(before) = &self.seen {
            counter!("tasker_workers_joined_total").increment(now.difference(before).count() as u64);
            counter!("tasker_workers_left_total").increment(before.difference(&now).count() as u64);
        }
        self.seen = Some(now);
    }

    /// Counts a worker that was declared dead, and not among those that left.
    pub(crate) fn died(&mut self, worker: &str, cause: &'static str) {
        counter!("tasker_worker_deaths_total", "cause" => cause).increment(1);
        if let Some(seen) = &mut self.seen {
            seen.remove(worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn workers_that_join_leave_and_die_are_counted_separately() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let mut changes = FleetChanges::default();
        metrics::with_local_recorder(&recorder, || {
            changes.observe(["a", "b"].into_iter());
            changes.observe(["a", "b", "c"].into_iter());
            changes.died("a", "unresponsive");
            changes.observe(["c"].into_iter());
        });
        let text = recorder.handle().render();
        for line in [
            "tasker_workers_joined_total 1",
            "tasker_workers_left_total 1",
            r#"tasker_worker_deaths_total{cause="unresponsive"} 1"#,
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
