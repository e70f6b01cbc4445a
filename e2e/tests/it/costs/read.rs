//! The cost of reading a task.

use serde_json::Value;

use super::cost_report::calls;
use super::meter::Meter;
use crate::harness::submit_batch;

/// Number of reads of one measurement.
const READS: u64 = 250;

async fn assert_one_statement_each(meter: &Meter, path: &str) {
    let cost = meter
        .measure(async || {
            for _ in 0..READS {
                let (status, answer) = meter.server.get(path).await;
                assert_eq!(status, 200, "{answer}");
            }
        })
        .await;
    assert_eq!(cost.statements, calls([("record", READS)]), "{path}: {cost:#?}");
    assert_eq!(cost.commands, calls([]), "{path}: {cost:#?}");
}

#[tokio::test]
async fn a_read_of_a_task_is_one_statement_alive_or_finished() {
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
