//! Batch submits.

use super::bill::calls;
use super::meter::Meter;
use crate::harness::submit_batch;

/// So many that one more statement for each would not pass for a duty's.
const BATCHES: u64 = 40;

#[tokio::test]
async fn a_batch_of_a_thousand_is_one_statement_and_one_push() {
    let meter = Meter::start().await;
    let bill = meter
        .measure(async || {
            for _ in 0..BATCHES {
                submit_batch(&meter.server, 1_000).await;
            }
        })
        .await;
    assert_eq!(bill.statements, calls([("submit", BATCHES)]), "{bill:#?}");
    bill.assert_pushes(BATCHES);
}
