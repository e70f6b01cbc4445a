//! The cost of single submits.

use super::cost_report::calls;
use super::meter::{LINK_DELAY, Meter, submit_over};

/// Number of tasks of one measurement.
const TASKS: usize = 1_000;
/// Number of concurrent clients.
const CLIENTS: usize = 64;
/// Maximum number of statements for concurrent submits: about 50 of 20 tasks each, with a margin.
const SHARED: u64 = 125;

#[tokio::test]
async fn a_submit_that_waits_for_no_other_is_one_statement_and_one_push() {
    let meter = Meter::start().await;
    let cost = meter
        .measure(async || submit_over(1, &meter.server, TASKS).await)
        .await;
    assert_eq!(cost.statements, calls([("submit", 1_000)]), "{cost:#?}");
    cost.assert_pushes(1_000);
}

#[tokio::test]
async fn concurrent_submits_share_their_statements_and_pushes() {
    let meter = Meter::start().await;
    meter.slow_down(LINK_DELAY);
    let cost = meter
        .measure(async || submit_over(CLIENTS, &meter.server, TASKS).await)
        .await;
    cost.assert_only(&["submit"], &["eval", "exists", "rpush"]);
    assert!(cost.statement("submit") <= SHARED, "{cost:#?}");
    cost.assert_pushes(cost.statement("submit"));
}
