//! The cost of cancellations.

use serde_json::Value;

use super::cost_report::calls;
use super::meter::Meter;
use crate::harness::submit_batch;

#[tokio::test]
async fn a_cancellation_of_a_task_that_waits_is_one_statement_and_one_that_comes_too_late_two() {
    let meter = Meter::start().await;
    let ids = submit_batch(&meter.server, 500).await;
    let cancel_each = async |expected: u16| {
        for id in &ids {
            let path = format!("/tasks/{id}/cancel");
            let (status, answer) = meter.server.post(&path, &Value::Null).await;
            assert_eq!(status, expected, "{answer}");
        }
    };
    let cost = meter.measure(async || cancel_each(200).await).await;
    assert_eq!(cost.statements, calls([("cancel", 500)]), "{cost:#?}");
    // one script each removes the hint from the head of its list
    cost.assert_commands(&["eval", "get", "lpop"]);
    assert!(cost.command("eval") <= 500 + cost.of_duties(), "{cost:#?}");

    let cost = meter.measure(async || cancel_each(409).await).await;
    let expected = calls([("cancel", 500), ("status", 500)]);
    assert_eq!(cost.statements, expected, "{cost:#?}");
    assert_eq!(cost.commands, calls([]), "{cost:#?}");
}
