//! Gauges that the leader alone shows. Each duty holds its own; when the duty ends they show 0, so that adding up or taking the
//! largest over all servers gives what the leader says, and a server that leads no more says nothing about the system.

use std::collections::BTreeMap;

use metrics::{Gauge, gauge};

/// A name, and the value of its label.
type Key = (&'static str, String);

/// The gauges of one duty.
#[derive(Default)]
pub(crate) struct LeaderGauges {
    shown: BTreeMap<Key, Gauge>,
}

impl LeaderGauges {
    /// Shows `value` under a name without labels.
    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        let handle = self.shown.entry((name, String::new()));
        handle.or_insert_with(|| gauge!(name)).set(value);
    }

    /// Shows `values` by the values of `label`. What was shown under this name before and is not among them shows 0.
    pub(crate) fn set_all<'a>(
        &mut self,
        name: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        let of_name = |key: &Key| key.0 == name;
        for (_, gauge) in self.shown.iter().filter(|(key, _)| of_name(key)) {
            gauge.set(0.0);
        }
        for (value_of_label, value) in values {
            let handle = self.shown.entry((name, value_of_label.to_owned()));
            handle
                .or_insert_with(|| gauge!(name, label => value_of_label.to_owned()))
                .set(value);
        }
    }
}

impl Drop for LeaderGauges {
    fn drop(&mut self) {
        for gauge in self.shown.values() {
            gauge.set(0.0);
        }
    }
}

impl std::fmt::Debug for LeaderGauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.shown.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn what_is_there_no_more_and_what_a_duty_that_ended_showed_is_0() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = |line: &str| recorder.handle().render().lines().any(|shown| shown == line);
        metrics::with_local_recorder(&recorder, || {
            let mut gauges = LeaderGauges::default();
            gauges.set("lonely", 2.0);
            gauges.set_all("many", "type", [("a", 3.0), ("b", 1.0)]);
            assert!(shown("lonely 2") && shown(r#"many{type="a"} 3"#) && shown(r#"many{type="b"} 1"#));
            gauges.set_all("many", "type", [("b", 2.0)]);
            assert!(shown(r#"many{type="a"} 0"#) && shown(r#"many{type="b"} 2"#) && shown("lonely 2"));
        });
        assert!(shown("lonely 0") && shown(r#"many{type="b"} 0"#));
    }
}
