//! The cost of submits with idempotency keys.

use serde_json::{Value, json};

use super::cost_report::calls;
use super::meter::{Meter, submit_all};

/// Number of submits of one measurement.
const SUBMITS: u64 = 200;
/// Number of tasks of one batch.
const BATCH: u64 = 10;

fn keyed(number: u64) -> Value {
    json!({"task_name": "echo", "idempotency_key": format!("key {number}")})
}

#[tokio::test]
async fn a_key_costs_no_statement_and_its_repetition_one() {
    let meter = Meter::start().await;
    let submit_each = async |expected: u16| {
        for number in 0..SUBMITS {
            let (status, answer) = meter.server.post("/tasks/submit", &keyed(number)).await;
            assert_eq!(status, expected, "{answer}");
        }
    };
    let cost = meter.measure(async || submit_each(202).await).await;
    assert_eq!(cost.statements, calls([("submit", SUBMITS)]), "{cost:#?}");
    cost.assert_pushes(SUBMITS);

    let cost = meter.measure(async || submit_each(200).await).await;
    let expected = calls([("submit", SUBMITS), ("holders of keys", SUBMITS)]);
    assert_eq!(cost.statements, expected, "{cost:#?}");
    assert_eq!(cost.commands, calls([]), "{cost:#?}");
}

#[tokio::test]
async fn a_batch_with_keys_is_one_statement_in_a_transaction() {
    let meter = Meter::start().await;
    let cost = meter
        .measure(async || {
            for batch in 0..SUBMITS {
                let keys = batch * BATCH..(batch + 1) * BATCH;
                submit_all(&meter.server, keys.map(keyed)).await;
            }
        })
        .await;
    let expected = calls([("BEGIN", SUBMITS), ("submit", SUBMITS), ("COMMIT", SUBMITS)]);
    assert_eq!(cost.statements, expected, "{cost:#?}");
    cost.assert_pushes(SUBMITS);
}
