//! Single submits.

use super::bill::calls;
use super::meter::{Meter, WAY, submit_over};

/// Tasks of one measurement.
const TASKS: usize = 1_000;
/// Clients that submit at once.
const CROWD: usize = 64;
/// Most statements for what a crowd submits: about 50, of 20 tasks each, and some room.
const SHARED: u64 = 125;

#[tokio::test]
async fn a_submit_that_waits_for_nobody_is_one_statement_and_one_push() {
    let meter = Meter::start().await;
    let bill = meter
        .measure(async || submit_over(1, &meter.server, TASKS).await)
        .await;
    assert_eq!(bill.statements, calls([("submit", 1_000)]), "{bill:#?}");
    bill.assert_pushes(1_000);
}

#[tokio::test]
async fn submits_of_a_crowd_share_their_statements_and_pushes() {
    let meter = Meter::start().await;
    meter.slow_down(WAY);
    let bill = meter
        .measure(async || submit_over(CROWD, &meter.server, TASKS).await)
        .await;
    bill.assert_only(&["submit"], &["eval", "exists", "rpush"]);
    assert!(bill.statement("submit") <= SHARED, "{bill:#?}");
    bill.assert_pushes(bill.statement("submit"));
}
