//! Formats the figures of all rounds as a table or a JSON document. Pure functions.

use std::fmt::Write as _;

use serde::Serialize;

use crate::arguments::Scenario;
use crate::figures::Figure;
use crate::machine::Facts;
use crate::stats::Spread;

/// All figures, with the conditions of the measurement.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Machine, versions and settings.
    #[serde(flatten)]
    pub(crate) facts: Facts,
    /// The figures, grouped by scenario in order of measurement.
    pub(crate) figures: Vec<Row>,
    /// Scenarios that failed, with their errors.
    pub(crate) failures: Vec<Failure>,
}

/// One figure over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) line: String,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    #[serde(flatten)]
    pub(crate) spread: Spread,
    /// The values by round.
    pub(crate) samples: Vec<f64>,
}

/// A scenario that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    pub(crate) line: String,
    pub(crate) error: String,
}

/// Aggregates `figures` over the rounds into one row each, grouped in the order of `scenarios`.
pub(crate) fn rows(scenarios: &[Scenario], figures: &[Figure]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for scenario in scenarios {
        let scenario_name = scenario.name();
        for figure in figures.iter().filter(|figure| figure.scenario == *scenario) {
            let known = rows
                .iter_mut()
                .find(|row| row.line == scenario_name && row.name == figure.name);
            if let Some(row) = known {
                row.samples.push(figure.value);
                row.spread = Spread::of(&row.samples).unwrap_or(row.spread);
                continue;
            }
            let value = figure.value;
            rows.push(Row {
                line: scenario_name.clone(),
                name: figure.name.clone(),
                unit: figure.unit,
                spread: Spread {
                    median: value,
                    min: value,
                    max: value,
                },
                samples: vec![value],
            });
        }
    }
    rows
}

impl Report {
    /// Formats the report as text: facts, a table of figures, failures.
    pub(crate) fn text(&self) -> String {
        let mut text = self.facts.text();
        if !self.figures.is_empty() {
            text.push('\n');
            text.push_str(&table(&self.figures));
        }
        for failure in &self.failures {
            let _ = writeln!(text, "\nFAILED {}: {}", failure.line, failure.error);
        }
        text
    }

    /// Formats the report as JSON.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

const HEADS: [&str; 5] = ["scenario", "figure", "median", "spread", "unit"];

fn table(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let Spread { median, min, max } = row.spread;
        let spread = if row.samples.len() > 1 {
            format!("{} … {}", number(min), number(max))
        } else {
            String::new()
        };
        let unit = row.unit.to_owned();
        [row.line.clone(), row.name.clone(), number(median), spread, unit]
    });
    let cells: Vec<_> = std::iter::once(HEADS.map(str::to_owned)).chain(cells).collect();
    let width = |column: usize| {
        cells
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for [line, name, median, spread, unit] in &cells {
        let row = format!(
            "{line:<0$}  {name:<1$}  {median:>2$}  {spread:>3$}  {unit}",
            widths[0], widths[1], widths[2], widths[3]
        );
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}

/// Formats a number with about three digits and thousands separators.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size < 0.001 && size > 0.0 => return format!("{value:.1e}"),
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let whole = text.split('.').next().unwrap_or_default().len();
    let mut grouped = String::new();
    for (at, digit) in text.char_indices() {
        let starts_a_group = at > 0 && at < whole && (whole - at).is_multiple_of(3);
        if starts_a_group && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Vec<Figure> {
        vec![
            Figure::new(Scenario::Drain, "rate", 70_000.0, "tasks/s"),
            Figure::new(Scenario::Start, "server", 0.25, "s"),
            Figure::new(Scenario::Drain, "rate", 60_000.0, "tasks/s"),
            Figure::new(Scenario::Drain, "rate", 65_000.4, "tasks/s"),
        ]
    }

    #[test]
    fn figures_are_grouped_by_scenario_over_the_rounds() {
        let rows = rows(&[Scenario::Start, Scenario::Drain], &figures());
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].line.as_str(), rows[1].line.as_str()), ("start", "drain"));
        assert_eq!(rows[1].samples.len(), 3);
        assert!((rows[1].spread.median - 65_000.4).abs() < 1e-9);
    }

    #[test]
    fn the_table_is_aligned() {
        let rows = rows(&[Scenario::Drain, Scenario::Start], &figures());
        let text = table(&rows);
        let wanted = "\
scenario  figure  median           spread  unit
drain     rate    65,000  60,000 … 70,000  tasks/s
start     server   0.250                   s
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let shown = [
            0.0,
            0.000_12,
            0.5,
            1.234,
            45.67,
            999.9,
            1_234.5,
            -1_234_567.0,
            -123.0,
        ]
        .map(number);
        assert_eq!(
            shown,
            [
                "0.000",
                "1.2e-4",
                "0.500",
                "1.23",
                "45.7",
                "1,000",
                "1,234",
                "-1,234,567",
                "-123"
            ]
        );
    }

    #[test]
    fn the_document_holds_facts_figures_and_failures() {
        let report = Report {
            facts: Facts::default(),
            figures: rows(&[Scenario::Start], &figures()),
            failures: vec![Failure {
                line: "churn".into(),
                error: "lost".into(),
            }],
        };
        let json: serde_json::Value =
            serde_json::from_str(&report.json().expect("a document")).expect("it is JSON");
        assert_eq!(json["figures"][0]["median"], 0.25);
        assert_eq!(json["figures"][0]["samples"], serde_json::json!([0.25]));
        assert_eq!(json["failures"][0]["line"], "churn");
        assert!(json["machine"].is_object() && json["versions"].is_object());
        assert!(report.text().contains("FAILED churn: lost"));
    }
}
