//! Cancellations.

use serde_json::Value;

use super::bill::calls;
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
    let bill = meter.measure(async || cancel_each(200).await).await;
    assert_eq!(bill.statements, calls([("cancel", 500)]), "{bill:#?}");
    // one script each takes the hint off the head of its list
    bill.assert_commands(&["eval", "get", "lpop"]);
    assert!(bill.command("eval") <= 500 + bill.of_duties(), "{bill:#?}");

    let bill = meter.measure(async || cancel_each(409).await).await;
    let expected = calls([("cancel", 500), ("status", 500)]);
    assert_eq!(bill.statements, expected, "{bill:#?}");
    assert_eq!(bill.commands, calls([]), "{bill:#?}");
}
