//! Metrics of the ends of workflows.
//!
//! A workflow is ended by the statement that ends its last step, which finds the join before the end at zero
//! while it holds the join's lock. That lock is the claim: it is taken and given back within the statement.

use std::time::Duration;

use metrics::{counter, histogram};

use super::Advance;

/// Counts what a statement did to the ends of workflows, and edges that came too late.
pub(super) fn record(advance: &Advance, took: Duration) {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    if advance.late_edges > 0 {
        counter!("tasker_workflow_late_edges_total").increment(count(advance.late_edges));
    }
    let refused = advance.not_over + advance.late_ends;
    let attempts = advance.over.len() + refused;
    if attempts == 0 {
        return;
    }
    histogram!("finalization_claim_duration_seconds").record(took);
    counter!("finalization_claim_attempts_total").increment(count(attempts));
    counter!("finalization_claim_success_total").increment(count(advance.over.len()));
    counter!("finalization_claim_contention_total").increment(count(refused));
    for (reason, number) in [
        ("not_ready", advance.not_over),
        ("already_complete", advance.late_ends),
    ] {
        counter!("finalization_claim_contention_by_reason_total", "reason" => reason)
            .increment(count(number));
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tasker_core::task::TaskId;

    use super::*;

    fn rendered(advance: &Advance) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || record(advance, Duration::from_millis(2)));
        recorder.handle().render()
    }

    #[test]
    fn each_end_that_a_statement_reaches_is_an_attempt_that_succeeds_or_says_why_not() {
        let text = rendered(&Advance {
            over: vec![TaskId::generate()],
            not_over: 2,
            late_ends: 1,
            late_edges: 3,
            ..Advance::default()
        });
        for line in [
            "finalization_claim_attempts_total 4",
            "finalization_claim_success_total 1",
            "finalization_claim_contention_total 3",
            r#"finalization_claim_contention_by_reason_total{reason="not_ready"} 2"#,
            r#"finalization_claim_contention_by_reason_total{reason="already_complete"} 1"#,
            "finalization_claim_duration_seconds_count 1",
            "tasker_workflow_late_edges_total 3",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn a_statement_that_reaches_no_end_is_not_counted() {
        assert_eq!(rendered(&Advance::default()), "");
    }
}
