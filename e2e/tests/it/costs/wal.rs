//! Bytes of WAL for a task: the data that Postgres flushes, replicates and archives, and so the cost of a
//! task where disk or network is the limit.
//!
//! An increase means a wider row, one more index, one more write of a row, or an update that has lost HOT.
//! Each limit is about a quarter above the value measured with Postgres 15, for small tasks and without full
//! page images.

use serde_json::{Value, json};

use super::cost_report::CostReport;
use super::meter::{Meter, submit_all, submit_over};
use crate::harness::submit_batch;

/// Submitted by itself, its commit and its share of the totals included: 543.
const SUBMIT_ALONE: u64 = 680;
/// Submitted in a batch: 407.
const SUBMIT_IN_BATCH: u64 = 510;
/// Submitted in a batch, with a key: 755.
const SUBMIT_WITH_KEY: u64 = 960;
/// Claimed and completed among others: 874.
const RUN: u64 = 1_085;
/// Claimed and failed for good, by itself: 1,380.
const FAILURE: u64 = 1_725;
/// Cancelled while it waits: 785.
const CANCELLATION: u64 = 980;

#[track_caller]
fn assert_wal(cost: &CostReport, tasks: u64, limit: u64) {
    let bytes = cost.all.wal / tasks;
    assert!(
        bytes <= limit,
        "{bytes} bytes of WAL for a task; {limit} are allowed"
    );
    // a limit far above the actual value would not detect an increase
    assert!(
        bytes * 2 > limit,
        "{bytes} bytes of WAL for a task: lower its limit"
    );
}

#[tokio::test]
async fn a_submit_and_a_run_write_no_more_wal_than_they_did() {
    let meter = Meter::start().await;
    let alone = meter
        .measure(async || submit_over(1, &meter.server, 1_000).await)
        .await;
    assert_wal(&alone, 1_000, SUBMIT_ALONE);
    let batch = meter
        .measure(async || drop(submit_batch(&meter.server, 4_000).await))
        .await;
    assert_wal(&batch, 4_000, SUBMIT_IN_BATCH);
    assert_wal(&meter.drain("256").await, 5_000, RUN);
}

#[tokio::test]
async fn a_key_a_cancellation_and_a_failure_write_no_more_wal_than_they_did() {
    let meter = Meter::start().await;
    let keyed = |number: u64| json!({"task_name": "echo", "idempotency_key": format!("key {number}")});
    let mut ids = Vec::new();
    let keys = meter
        .measure(async || ids = submit_all(&meter.server, (0..1_000).map(keyed)).await)
        .await;
    assert_wal(&keys, 1_000, SUBMIT_WITH_KEY);
    let cancelled = meter
        .measure(async || {
            for id in &ids {
                let path = format!("/tasks/{id}/cancel");
                let (status, answer) = meter.server.post(&path, &Value::Null).await;
                assert_eq!(status, 200, "{answer}");
            }
        })
        .await;
    assert_wal(&cancelled, 1_000, CANCELLATION);
    let failing = json!({"task_name": "example_failing", "max_retries": 0});
    submit_all(&meter.server, (0..200).map(|_| failing.clone())).await;
    assert_wal(&meter.drain("1").await, 200, FAILURE);
}
