//! What a line measured in a round, and what follows from comparing lines. Pure.

use crate::arguments::Choice;

/// The figure of a line by which others are compared with it.
pub(crate) const RATE: &str = "rate";
/// The bare statements of a submit, at their best.
pub(crate) const SKETCH_SUBMIT: &str = "insert and push";
/// The bare statements of work, at their best.
pub(crate) const SKETCH_WORK: &str = "pop, claim and complete";

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// The line it belongs to.
    pub(crate) line: Choice,
    /// What it is, within the line.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: f64,
    /// The value's unit.
    pub(crate) unit: &'static str,
}

impl Figure {
    /// A figure of `line`.
    pub(crate) fn new(line: Choice, name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let name = name.into();
        Self {
            line,
            name,
            value,
            unit,
        }
    }
}

/// The value of a figure among `figures`.
pub(crate) fn value(figures: &[Figure], line: Choice, name: &str) -> Option<f64> {
    let found = figures
        .iter()
        .find(|figure| figure.line == line && figure.name == name);
    found.map(|figure| figure.value)
}

/// The name of a figure of `submit`.
pub(crate) fn submit_rate(connections: u32) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    format!("{connections} connection{plural}")
}

/// What follows from a round's figures: the product's share of the bare statements, more workers against one.
pub(crate) fn compared(figures: &[Figure]) -> Vec<Figure> {
    use Choice::{Batch, Drain, Drain2, Drain4, Drain10, Sketch, Submit};
    let crowd = submit_rate(256);
    let pairs = [
        (Drain, RATE, Sketch, SKETCH_WORK, "share of the bare statements"),
        (
            Submit,
            crowd.as_str(),
            Sketch,
            SKETCH_SUBMIT,
            "256 connections, share of the bare statements",
        ),
        (Batch, RATE, Sketch, SKETCH_SUBMIT, "share of the bare statements"),
        (Drain10, RATE, Drain, RATE, "to drain"),
        (Drain2, RATE, Drain, RATE, "to drain"),
        (Drain4, RATE, Drain, RATE, "to drain"),
    ];
    let ratio = |(line, name, base, base_name, called)| {
        let base = value(figures, base, base_name).filter(|base| *base > 0.0)?;
        Some(Figure::new(line, called, value(figures, line, name)? / base, "×"))
    };
    pairs.into_iter().filter_map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_where_both_were_measured() {
        let mut figures = vec![
            Figure::new(Choice::Drain, RATE, 60.0, "tasks/s"),
            Figure::new(Choice::Drain2, RATE, 90.0, "tasks/s"),
        ];
        let found = compared(&figures);
        assert_eq!(found, [Figure::new(Choice::Drain2, "to drain", 1.5, "×")]);
        figures.push(Figure::new(Choice::Sketch, SKETCH_WORK, 80.0, "tasks/s"));
        assert_eq!(
            compared(&figures)[0],
            Figure::new(Choice::Drain, "share of the bare statements", 0.75, "×")
        );
    }

    #[test]
    fn nothing_is_compared_with_nothing() {
        let figures = [
            Figure::new(Choice::Drain, RATE, 0.0, "tasks/s"),
            Figure::new(Choice::Drain4, RATE, 1.0, "tasks/s"),
        ];
        assert_eq!(compared(&figures), []);
    }
}
