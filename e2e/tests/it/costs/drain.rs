//! Tasks that wait when a worker comes.

use super::meter::{Meter, WAY};
use crate::harness::submit_batch;

/// Tasks for a worker that runs one at a time.
const TASKS: u64 = 300;
/// Most claims, completions and pops for a thousand where 256 run at once: about 10, 15 and 15, and some room.
const SHARED: u64 = 50;

#[tokio::test]
async fn a_task_of_a_worker_with_one_slot_is_a_pop_a_claim_and_a_completion() {
    let meter = Meter::start().await;
    submit_batch(&meter.server, 300).await;
    let bill = meter.drain("1").await;
    bill.assert_only(&["claim", "complete"], &["blmpop", "mget"]);
    // a fallback poll takes a task now and then, and removes its hint: one claim each all the same
    assert!(bill.statement("claim") <= TASKS, "{bill:#?}");
    assert!(bill.statement("complete") <= TASKS, "{bill:#?}");
    // a worker without work, and the other one, pop once a second
    let idle = 20 + 2 * bill.all.elapsed.as_secs();
    assert!(bill.command("blmpop") <= TASKS + idle, "{bill:#?}");
    assert!(bill.command("mget") <= TASKS + idle, "{bill:#?}");
}

#[tokio::test]
async fn tasks_of_a_worker_with_many_slots_share_their_pops_claims_and_completions() {
    let meter = Meter::start().await;
    submit_batch(&meter.server, 1_000).await;
    meter.slow_down(WAY);
    let bill = meter.drain("256").await;
    bill.assert_only(&["claim", "complete"], &["blmpop", "mget"]);
    assert!(bill.statement("claim") <= SHARED, "{bill:#?}");
    assert!(bill.statement("complete") <= SHARED, "{bill:#?}");
    assert!(bill.command("blmpop") <= SHARED, "{bill:#?}");
    assert!(bill.command("mget") <= SHARED, "{bill:#?}");
}
