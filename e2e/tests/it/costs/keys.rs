//! Submits with idempotency keys.

use serde_json::{Value, json};

use super::bill::calls;
use super::meter::{Meter, submit_all};

/// Submits of one measurement.
const SUBMITS: u64 = 200;
/// Tasks of one batch.
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
    let bill = meter.measure(async || submit_each(202).await).await;
    assert_eq!(bill.statements, calls([("submit", SUBMITS)]), "{bill:#?}");
    bill.assert_pushes(SUBMITS);

    let bill = meter.measure(async || submit_each(200).await).await;
    let expected = calls([("submit", SUBMITS), ("holders of keys", SUBMITS)]);
    assert_eq!(bill.statements, expected, "{bill:#?}");
    assert_eq!(bill.commands, calls([]), "{bill:#?}");
}

#[tokio::test]
async fn a_batch_with_keys_is_one_statement_in_a_transaction() {
    let meter = Meter::start().await;
    let bill = meter
        .measure(async || {
            for batch in 0..SUBMITS {
                let keys = batch * BATCH..(batch + 1) * BATCH;
                submit_all(&meter.server, keys.map(keyed)).await;
            }
        })
        .await;
    let expected = calls([("BEGIN", SUBMITS), ("submit", SUBMITS), ("COMMIT", SUBMITS)]);
    assert_eq!(bill.statements, expected, "{bill:#?}");
    bill.assert_pushes(SUBMITS);
}
