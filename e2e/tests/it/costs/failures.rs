//! Tasks that fail.

use serde_json::json;

use super::bill::Bill;
use super::meter::{Meter, submit_all};

/// Tasks of one measurement.
const TASKS: u64 = 150;

/// What it costs a worker with one slot to run tasks that always fail, with so many retries.
async fn fail(retries: u64) -> Bill {
    let meter = Meter::start().await;
    let failing = json!({"task_name": "example_failing", "max_retries": retries});
    submit_all(&meter.server, (0..TASKS).map(|_| failing.clone())).await;
    meter.drain("1").await
}

#[tokio::test]
async fn a_task_that_fails_for_good_is_a_claim_and_an_end() {
    let bill = fail(0).await;
    bill.assert_only(&["claim", "end runs"], &["blmpop", "mget"]);
    assert!(bill.statement("claim") <= TASKS, "{bill:#?}");
    assert!(bill.statement("end runs") <= TASKS, "{bill:#?}");
}

#[tokio::test]
async fn a_retry_is_a_claim_and_an_end_more_and_a_promotion_and_a_push_at_most() {
    let bill = fail(1).await;
    bill.assert_only(
        &["claim", "end runs", "promote", "next due"],
        &["blmpop", "eval", "exists", "mget", "rpush"],
    );
    assert!(bill.statement("claim") <= 2 * TASKS, "{bill:#?}");
    assert!(bill.statement("end runs") <= 2 * TASKS, "{bill:#?}");
    // those that are due together share a promotion, which looks when the next is due before and after it
    assert!(bill.statement("promote") <= TASKS, "{bill:#?}");
    assert!(bill.statement("next due") <= 2 * TASKS, "{bill:#?}");
    assert!(
        bill.command("rpush") <= bill.statement_in_all("promote"),
        "{bill:#?}"
    );
}
