//! Metrics of the ends of workflows.
//!
//! A workflow is ended by the statement that ends its last step, which finds the join before the end at zero
//! while it holds the join's lock. That lock is the claim, which begins and ends with the statement.

use std::time::Duration;

use metrics::{counter, histogram};

/// The ends of workflows that a statement reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Those whose workflow ended.
    pub(super) over: usize,
    /// Joins before an end that wait for more edges.
    pub(super) not_over: usize,
    /// Those whose workflow had already ended.
    pub(super) late: usize,
}

/// Counts the ends that a statement reached.
pub(super) fn record(ends: Ends, took: Duration) {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let refused = ends.not_over + ends.late;
    let attempts = ends.over + refused;
    if attempts == 0 {
        return;
    }
    histogram!("finalization_claim_duration_seconds").record(took);
    counter!("finalization_claim_attempts_total").increment(count(attempts));
    counter!("finalization_claim_success_total").increment(count(ends.over));
    counter!("finalization_claim_contention_total").increment(count(refused));
    for (reason, number) in [("not_ready", ends.not_over), ("already_complete", ends.late)] {
        counter!("finalization_claim_contention_by_reason_total", "reason" => reason)
            .increment(count(number));
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn rendered(ends: Ends) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || record(ends, Duration::from_millis(2)));
        recorder.handle().render()
    }

    #[test]
    fn each_end_that_a_statement_reaches_is_an_attempt_that_succeeds_or_says_why_not() {
        let text = rendered(Ends {
            over: 1,
            not_over: 2,
            late: 1,
        });
        for line in [
            "finalization_claim_attempts_total 4",
            "finalization_claim_success_total 1",
            "finalization_claim_contention_total 3",
            r#"finalization_claim_contention_by_reason_total{reason="not_ready"} 2"#,
            r#"finalization_claim_contention_by_reason_total{reason="already_complete"} 1"#,
            "finalization_claim_duration_seconds_count 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn a_statement_that_reaches_no_end_is_not_counted() {
        assert_eq!(rendered(Ends::default()), "");
    }
}
