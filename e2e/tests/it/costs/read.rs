//! Reads of one task.

use serde_json::Value;

use super::bill::calls;
use super::meter::Meter;
use crate::harness::submit_batch;

/// Reads of one measurement.
const READS: u64 = 250;

async fn assert_one_statement_each(meter: &Meter, path: &str) {
    let bill = meter
        .measure(async || {
            for _ in 0..READS {
                let (status, answer) = meter.server.get(path).await;
                assert_eq!(status, 200, "{answer}");
            }
        })
        .await;
    assert_eq!(bill.statements, calls([("record", READS)]), "{path}: {bill:#?}");
    assert_eq!(bill.commands, calls([]), "{path}: {bill:#?}");
}

#[tokio::test]
async fn a_read_of_a_task_is_one_statement_alive_or_ended() {
    let meter = Meter::start().await;
    let id = submit_batch(&meter.server, 1).await.remove(0);
    let record = format!("/tasks/{id}");
    assert_one_statement_each(&meter, &record).await;
    assert_one_statement_each(&meter, &format!("{record}/status")).await;
    let (status, answer) = meter.server.post(&format!("{record}/cancel"), &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    assert_one_statement_each(&meter, &record).await;
    assert_one_statement_each(&meter, &format!("{record}/result")).await;
}
