//! The cost of batch submits.

use super::cost_report::calls;
use super::meter::Meter;
use crate::harness::submit_batch;

/// Number of batches, enough that one more statement for each could not be mistaken for a duty's.
const BATCHES: u64 = 40;

#[tokio::test]
async fn a_batch_of_a_thousand_is_one_statement_and_one_push() {
    let meter = Meter::start().await;
    let cost = meter
        .measure(async || {
            for _ in 0..BATCHES {
                submit_batch(&meter.server, 1_000).await;
            }
        })
        .await;
    assert_eq!(cost.statements, calls([("submit", BATCHES)]), "{cost:#?}");
    cost.assert_pushes(BATCHES);
}
