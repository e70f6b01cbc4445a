//! Traces: spans connect the submit, the row and the run, and an unavailable collector has no effect on
//! tasks.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgPool;
use tasker_testkit::System;
use tokio::net::TcpListener;

use crate::collector::{Collected, Collector};
use crate::harness::{SOON, Small, all_complete_once, echo, id_of, submit_batch};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
/// Export interval so long that earlier spans can only come from the flush at the end of a process.
const NEVER: &str = "600000";

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Returns the only span of `service` with this name in this trace.
fn found(spans: &[Collected], service: &str, name: &str, trace: &str) -> Collected {
    let mut matching = spans.iter().filter(|collected| {
        collected.service == service && collected.span.name == name && hex(&collected.span.trace_id) == trace
    });
    let only = matching
        .next()
        .unwrap_or_else(|| panic!("no {name} of {service} in {spans:#?}"));
    assert!(matching.next().is_none(), "{name} was built twice");
    only.clone()
}

#[sqlx::test(migrations = false)]
async fn a_trace_goes_from_the_submitter_to_the_run_and_the_last_spans_are_sent_at_the_end(db: PgPool) {
    let collector = Collector::start().await;
    let system = System::new(&db)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .with("OTEL_BSP_SCHEDULE_DELAY", NEVER);
    let mut small = Small::on(system).await;
    let submit = small
        .server
        .http
        .post(format!("{}/tasks/submit", small.server.url))
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .json(&json!({"task_name": "echo", "correlation_id": "order-7"}));
    let answer = submit
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let traced = id_of(&answer);
    let untraced = small.server.submit(&echo(1)).await;
    let failing = json!({"task_name": "example_failing", "max_retries": 0});
    let failing = small.server.submit(&failing).await;
    small.server.wait_for(&traced, "completed", SOON).await;
    small.server.wait_for(&untraced, "completed", SOON).await;
    small.server.wait_for(&failing, "dead_letter", SOON).await;
    assert!(collector.spans().is_empty(), "they are sent at the end");
    small.worker.process.terminate().await;
    small.server.process.terminate().await;

    let spans = collector.spans();
    let request = found(&spans, "tasker-server", "POST /tasks/submit", TRACE);
    assert_eq!(hex(&request.span.parent_span_id), CALLER);
    assert_eq!(
        request.attribute("http.response.status_code").as_deref(),
        Some("202")
    );
    assert_eq!(request.attribute("http.route").as_deref(), Some("/tasks/submit"));
    let run = found(&spans, "tasker-worker", "process default", TRACE);
    assert_eq!(hex(&run.span.parent_span_id), CALLER);
    assert_eq!(hex(&run.span.links[0].trace_id), TRACE);
    for (key, value) in [
        ("messaging.message.id", traced.as_str()),
        ("messaging.message.conversation_id", "order-7"),
        ("messaging.destination.name", "default"),
        ("tasker.task_name", "echo"),
        ("tasker.attempt", "1"),
    ] {
        assert_eq!(run.attribute(key).as_deref(), Some(value), "{key}");
    }

    let run_of = |id: &str| {
        let of_task = |run: &&Collected| run.attribute("messaging.message.id").as_deref() == Some(id);
        spans.iter().find(of_task).expect("the span of its run")
    };
    // without a trace of the caller a new one starts with the request
    let run = run_of(&untraced);
    let request = found(
        &spans,
        "tasker-server",
        "POST /tasks/submit",
        &hex(&run.span.trace_id),
    );
    assert_eq!(run.span.parent_span_id, request.span.span_id);
    let run = run_of(&failing);
    assert_eq!(run.attribute("error.type").as_deref(), Some("failed"));
    assert_eq!(run.span.status.as_ref().map(|status| status.code), Some(2));
    let probes = spans
        .iter()
        .filter(|collected| collected.span.name.contains("/health"));
    assert_eq!(probes.count(), 0);
}

#[sqlx::test(migrations = false)]
async fn a_collector_that_never_responds_slows_nothing_down_and_is_reported_once(db: PgPool) {
    // the kernel accepts connections into the backlog, but the collector never responds
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("an address");
    let system = System::new(&db)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"))
        .with("OTEL_BSP_SCHEDULE_DELAY", "100");
    let mut small = Small::on(system).await;
    for _ in 0..3 {
        let ids = submit_batch(&small.server, 1_000).await;
        all_complete_once(&db, &ids).await;
    }
    // the first export is given up after five seconds
    let said = |log: &str| log.matches("failed to send spans to the collector").count();
    tasker_testkit::eventually("the worker says so", SOON, async || {
        said(&small.worker.process.log()) > 0
    })
    .await;
    let began = Instant::now();
    small.worker.process.terminate().await;
    small.server.process.terminate().await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "the shutdown does not wait for the collector"
    );
    assert_eq!(said(&small.worker.process.log()), 1);
    assert!(said(&small.server.process.log()) <= 1);
}
