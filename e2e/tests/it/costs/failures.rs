//! The cost of failing tasks.

use serde_json::json;

use super::cost_report::CostReport;
use super::meter::{Meter, submit_all};

/// Number of tasks of one measurement.
const TASKS: u64 = 150;

/// Measures a worker with one slot that runs tasks that always fail, with this number of retries.
async fn fail(retries: u64) -> CostReport {
    let meter = Meter::start().await;
    let failing = json!({"task_name": "example_failing", "max_retries": retries});
    submit_all(&meter.server, (0..TASKS).map(|_| failing.clone())).await;
    meter.drain("1").await
}

#[tokio::test]
async fn a_task_that_fails_finally_is_a_claim_and_a_completion() {
    let cost = fail(0).await;
    cost.assert_only(&["claim", "end runs"], &["blmpop", "mget"]);
    assert!(cost.statement("claim") <= TASKS, "{cost:#?}");
    assert!(cost.statement("end runs") <= TASKS, "{cost:#?}");
}

#[tokio::test]
async fn a_retry_is_one_more_claim_and_completion_and_at_most_a_promotion_and_a_push() {
    let cost = fail(1).await;
    cost.assert_only(
        &["claim", "end runs", "promote", "next due"],
        &["blmpop", "eval", "exists", "mget", "rpush"],
    );
    assert!(cost.statement("claim") <= 2 * TASKS, "{cost:#?}");
    assert!(cost.statement("end runs") <= 2 * TASKS, "{cost:#?}");
    // tasks due together share a promotion, which queries the next due time before and after it
    assert!(cost.statement("promote") <= TASKS, "{cost:#?}");
    assert!(cost.statement("next due") <= 2 * TASKS, "{cost:#?}");
    assert!(
        cost.command("rpush") <= cost.statement_in_all("promote"),
        "{cost:#?}"
    );
}
