//! Percentiles and rates.

use std::time::Duration;

use serde::Serialize;

/// One row of results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Line {
    /// Name of the measurement.
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// Number of tasks in the measurement.
    pub(crate) tasks: u64,
    /// Duration of the measurement in seconds.
    pub(crate) seconds: f64,
    /// Number of requests with a status other than 202.
    pub(crate) refused: u64,
    /// Percentiles of the response time; `None` where requests are not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
}

impl Line {
    /// Creates a row of tasks per second.
    pub(crate) fn rate(name: impl Into<String>, tasks: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let value = if seconds > 0.0 {
            tasks as f64 / seconds
        } else {
            0.0
        };
        Self {
            name: name.into(),
            value,
            unit: "tasks/s",
            tasks,
            seconds,
            refused: 0,
            p50_ms: None,
            p99_ms: None,
        }
    }

    /// Adds the percentiles of the response times.
    pub(crate) fn with_answers(mut self, mut answers: Vec<Duration>) -> Self {
        answers.sort_unstable();
        self.p50_ms = percentile(&answers, 50).map(millis);
        self.p99_ms = percentile(&answers, 99).map(millis);
        self
    }

    pub(crate) fn with_refused(mut self, refused: u64) -> Self {
        self.refused = refused;
        self
    }
}

/// Returns rows with the p50, p95 and p99 of `samples` in milliseconds.
pub(crate) fn percentiles(name: &str, mut samples: Vec<Duration>, elapsed: Duration) -> Vec<Line> {
    samples.sort_unstable();
    let line = |percent: u32| {
        let value = millis(percentile(&samples, percent)?);
        let name = format!("{name} p{percent}");
        let tasks = samples.len() as u64;
        Some(Line {
            name,
            value,
            unit: "ms",
            tasks,
            seconds: elapsed.as_secs_f64(),
            refused: 0,
            p50_ms: None,
            p99_ms: None,
        })
    };
    [50, 95, 99].into_iter().filter_map(line).collect()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Returns the nearest-rank percentile of sorted samples: the smallest sample that at least
/// `percent` per cent of them do not exceed.
fn percentile(sorted: &[Duration], percent: u32) -> Option<Duration> {
    let rank = (sorted.len() * percent as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        millis.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_samples_that_were_seen() {
        let samples_seen = samples(1..=100);
        let at = |percent| percentile(&samples_seen, percent).map(|sample| sample.as_millis());
        assert_eq!(
            [at(0), at(50), at(95), at(99), at(100)],
            [Some(1), Some(50), Some(95), Some(99), Some(100)]
        );
        assert_eq!(percentile(&samples([7]), 99), Some(Duration::from_millis(7)));
        assert_eq!(percentile(&samples([1, 2]), 50), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn percentile_lines_do_not_need_sorted_samples() {
        let lines = percentiles("start", samples([30, 10, 20]), Duration::from_secs(1));
        let values: Vec<_> = lines
            .iter()
            .map(|line| (line.name.as_str(), line.tasks))
            .collect();
        assert_eq!(values, [("start p50", 3), ("start p95", 3), ("start p99", 3)]);
        assert!((lines[0].value - 20.0).abs() < 1e-9 && (lines[2].value - 30.0).abs() < 1e-9);
    }

    #[test]
    fn a_row_shows_the_percentiles_of_its_response_times() {
        let line = Line::rate("x", 3, Duration::from_secs(1)).with_answers(samples([30, 10, 20]));
        assert!(line.p50_ms.is_some_and(|ms| (ms - 20.0).abs() < 1e-9));
        assert!(line.p99_ms.is_some_and(|ms| (ms - 30.0).abs() < 1e-9));
        assert_eq!(
            Line::rate("x", 0, Duration::ZERO).with_answers(Vec::new()).p50_ms,
            None
        );
    }

    #[test]
    fn a_rate_over_no_time_is_nothing_and_not_infinite() {
        assert!(Line::rate("x", 5, Duration::ZERO).value.abs() < f64::EPSILON);
        assert!((Line::rate("x", 5, Duration::from_millis(500)).value - 10.0).abs() < 1e-9);
    }
}
