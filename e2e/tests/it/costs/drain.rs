//! The cost of draining a backlog.

use super::meter::{LINK_DELAY, Meter};
use crate::harness::submit_batch;

/// Number of tasks for a worker with one slot.
const TASKS: u64 = 300;
/// Maximum number of claims, completions and pops for 1,000 tasks with 256 slots: about 10, 15 and 15, with a
/// margin.
const SHARED: u64 = 50;

#[tokio::test]
async fn a_task_of_a_worker_with_one_slot_is_a_pop_a_claim_and_a_completion() {
    let meter = Meter::start().await;
    submit_batch(&meter.server, 300).await;
    let cost = meter.drain("1").await;
    cost.assert_only(&["claim", "complete"], &["blmpop", "mget"]);
    // fallback polls take some tasks and remove their hints: still one claim for each task
    assert!(cost.statement("claim") <= TASKS, "{cost:#?}");
    assert!(cost.statement("complete") <= TASKS, "{cost:#?}");
    // idle workers pop once a second
    let idle = 20 + 2 * cost.all.elapsed.as_secs();
    assert!(cost.command("blmpop") <= TASKS + idle, "{cost:#?}");
    assert!(cost.command("mget") <= TASKS + idle, "{cost:#?}");
}

#[tokio::test]
async fn tasks_of_a_worker_with_many_slots_share_their_pops_claims_and_completions() {
    let meter = Meter::start().await;
    submit_batch(&meter.server, 1_000).await;
    meter.slow_down(LINK_DELAY);
    let cost = meter.drain("256").await;
    cost.assert_only(&["claim", "complete"], &["blmpop", "mget"]);
    assert!(cost.statement("claim") <= SHARED, "{cost:#?}");
    assert!(cost.statement("complete") <= SHARED, "{cost:#?}");
    assert!(cost.command("blmpop") <= SHARED, "{cost:#?}");
    assert!(cost.command("mget") <= SHARED, "{cost:#?}");
}
