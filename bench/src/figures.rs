//! The figures of the scenarios in one round, and ratios between scenarios. Pure functions.

use crate::arguments::Scenario;

/// The name of the figure by which scenarios are compared.
pub(crate) const RATE: &str = "rate";
/// The best rate of the baseline's submit.
pub(crate) const BASELINE_SUBMIT: &str = "insert and push";
/// The best rate of the baseline's claim and completion.
pub(crate) const BASELINE_WORK: &str = "pop, claim and complete";

/// One measured number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// The measured scenario.
    pub(crate) scenario: Scenario,
    /// Its name, unique in the scenario.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: f64,
    /// The value's unit.
    pub(crate) unit: &'static str,
}

impl Figure {
    /// Creates a figure of `scenario`.
    pub(crate) fn new(scenario: Scenario, name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let name = name.into();
        Self {
            scenario,
            name,
            value,
            unit,
        }
    }
}

/// Returns the value of a figure; `None` if it was not measured.
pub(crate) fn value(figures: &[Figure], scenario: Scenario, name: &str) -> Option<f64> {
    let found = figures
        .iter()
        .find(|figure| figure.scenario == scenario && figure.name == name);
    found.map(|figure| figure.value)
}

/// Returns the name of the figure of `submit` with this number of connections.
pub(crate) fn submit_rate(connections: u32) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    format!("{connections} connection{plural}")
}

/// Computes the ratios of one round: Tasker to the baseline, and several workers to one.
pub(crate) fn compared(figures: &[Figure]) -> Vec<Figure> {
    use Scenario::{Baseline, Batch, Drain, Drain2, Drain4, Drain10, Submit};
    let most_connections = submit_rate(256);
    let pairs = [
        (
            Drain,
            RATE,
            Baseline,
            BASELINE_WORK,
            "share of the bare statements",
        ),
        (
            Submit,
            most_connections.as_str(),
            Baseline,
            BASELINE_SUBMIT,
            "256 connections, share of the bare statements",
        ),
        (
            Batch,
            RATE,
            Baseline,
            BASELINE_SUBMIT,
            "share of the bare statements",
        ),
        (Drain10, RATE, Drain, RATE, "to drain"),
        (Drain2, RATE, Drain, RATE, "to drain"),
        (Drain4, RATE, Drain, RATE, "to drain"),
    ];
    let ratio = |(scenario, name, base, base_name, called)| {
        let base = value(figures, base, base_name).filter(|base| *base > 0.0)?;
        Some(Figure::new(
            scenario,
            called,
            value(figures, scenario, name)? / base,
            "×",
        ))
    };
    pairs.into_iter().filter_map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_compared_where_both_were_measured() {
        let mut figures = vec![
            Figure::new(Scenario::Drain, RATE, 60.0, "tasks/s"),
            Figure::new(Scenario::Drain2, RATE, 90.0, "tasks/s"),
        ];
        let found = compared(&figures);
        assert_eq!(found, [Figure::new(Scenario::Drain2, "to drain", 1.5, "×")]);
        figures.push(Figure::new(Scenario::Baseline, BASELINE_WORK, 80.0, "tasks/s"));
        assert_eq!(
            compared(&figures)[0],
            Figure::new(Scenario::Drain, "share of the bare statements", 0.75, "×")
        );
    }

    #[test]
    fn scenarios_without_a_rate_are_not_compared() {
        let figures = [
            Figure::new(Scenario::Drain, RATE, 0.0, "tasks/s"),
            Figure::new(Scenario::Drain4, RATE, 1.0, "tasks/s"),
        ];
        assert_eq!(compared(&figures), []);
    }
}
