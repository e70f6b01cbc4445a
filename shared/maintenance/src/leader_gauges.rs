//! Gauges that only the leader sets. Each duty owns its gauges and sets them to 0 when it ends, so the sum or
//! the maximum over all servers is the leader's value.

use std::collections::BTreeMap;

use metrics::{Gauge, Label, gauge};

/// The name of a metric and the values of its labels.
type Key = (&'static str, Vec<String>);

/// The gauges of one duty.
#[derive(Default)]
pub(crate) struct LeaderGauges {
    shown: BTreeMap<Key, Gauge>,
}

impl LeaderGauges {
    /// Sets a gauge without labels.
    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        let handle = self.shown.entry((name, Vec::new()));
        handle.or_insert_with(|| gauge!(name)).set(value);
    }

    /// Sets a gauge for each value of `label`. Gauges of this name that were set before and are not in
    /// `values` become 0.
    pub(crate) fn set_all<'a>(
        &mut self,
        name: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        let values = values.into_iter().map(|(of_label, value)| ([of_label], value));
        self.set_all_by(name, [label], values);
    }

    /// Sets a gauge for each combination of several labels, otherwise like [`Self::set_all`].
    pub(crate) fn set_all_by<'a, const N: usize>(
        &mut self,
        name: &'static str,
        labels: [&'static str; N],
        values: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        // a series cannot be removed from the recorder, so 0 stands for one that has no value any more
        let of_name = |key: &Key| key.0 == name;
        for (_, gauge) in self.shown.iter().filter(|(key, _)| of_name(key)) {
            gauge.set(0.0);
        }
        for (of_labels, value) in values {
            let handle = self
                .shown
                .entry((name, of_labels.map(ToOwned::to_owned).to_vec()));
            let pairs = labels.iter().zip(of_labels);
            let shown = handle.or_insert_with(|| {
                let labels: Vec<Label> = pairs
                    .map(|(label, of_label)| Label::new(*label, of_label.to_owned()))
                    .collect();
                gauge!(name, labels)
            });
            shown.set(value);
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
        metrics::with_local_recorder(&recorder, || {
            let mut gauges = LeaderGauges::default();
            let labels = ["queue", "type"];
            gauges.set_all_by("pairs", labels, [(["q", "a"], 3.0), (["q", "b"], 1.0)]);
            gauges.set_all_by("pairs", labels, [(["q", "b"], 2.0)]);
            assert!(shown(r#"pairs{queue="q",type="a"} 0"#) && shown(r#"pairs{queue="q",type="b"} 2"#));
        });
        assert!(shown("lonely 0") && shown(r#"many{type="b"} 0"#));
    }
}
