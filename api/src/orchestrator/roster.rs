//! Who comes and goes, counted by what the leader sees from one look to the next.

use std::collections::HashSet;

use metrics::counter;

/// The workers that the last look saw.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// Nothing before the first look: who is there then came before.
    seen: Option<HashSet<String>>,
}

impl Roster {
    /// Takes in all workers that are there.
    pub(crate) fn look<'a>(&mut self, workers: impl Iterator<Item = &'a str>) {
        let now: HashSet<String> = workers.map(ToOwned::to_owned).collect();
        if let Some(before) = &self.seen {
            counter!("tasker_workers_joined_total").increment(now.difference(before).count() as u64);
            counter!("tasker_workers_left_total").increment(before.difference(&now).count() as u64);
        }
        self.seen = Some(now);
    }

    /// Takes note that a worker was declared dead: it did not leave in order.
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
    fn those_who_come_leave_and_die_are_counted_apart() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let mut roster = Roster::default();
        metrics::with_local_recorder(&recorder, || {
            roster.look(["a", "b"].into_iter());
            roster.look(["a", "b", "c"].into_iter());
            roster.died("a", "unresponsive");
            roster.look(["c"].into_iter());
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
