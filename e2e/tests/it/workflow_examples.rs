//! The examples of workflows: each with its own worker, templates and contexts.

use std::path::PathBuf;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{Running, System};

use crate::harness::count;

/// Returns the path of a file or folder of an example.
fn of(example: &str, path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))
        .join(example)
        .join(path)
}

/// An example that runs: a server, and the example's worker, which publishes its templates.
struct Example {
    name: &'static str,
    _system: System,
    server: Running,
    _worker: Running,
}

impl Example {
    async fn start(db: &PgPool, name: &'static str, program: &str, queues: &str) -> Self {
        let system = System::new(db);
        let server = system.server(&[]).await;
        let templates = of(name, "templates");
        let templates = templates.to_str().expect("text");
        let environment = [("TASKER_TEMPLATE_PATH", templates), ("TASK_QUEUES", queues)];
        let worker = system.worker_program(program, &environment).await;
        Self {
            name,
            _system: system,
            server,
            _worker: worker,
        }
    }

    /// Runs a template with the context in a file of the example, and returns its record.
    async fn run(&self, template: &str, context: &str) -> Value {
        let context = std::fs::read_to_string(of(self.name, context)).expect("a context");
        let context: Value = serde_json::from_str(&context).expect("JSON");
        let body = json!({"name": template, "context": context});
        let (status, record) = self.server.post("/v1/workflows?wait=60", &body).await;
        assert_eq!(status, 201, "{record}");
        record
    }
}

/// Returns the state of a step of a record.
fn state<'r>(record: &'r Value, step: &str) -> &'r Value {
    let steps = record["steps"].as_array().expect("steps");
    let found = steps.iter().find(|of| of["name"] == step);
    &found.unwrap_or_else(|| panic!("{step} is in {record}"))["status"]
}

#[sqlx::test(migrations = false)]
async fn an_order_is_shipped_by_workers_of_its_namespace(db: PgPool) {
    let example = Example::start(&db, "order-fulfillment", "order-fulfillment", "fulfillment_queue").await;
    let record = example.run("order_fulfillment", "order.json").await;
    assert_eq!(record["status"], json!("complete"), "{record}");
    let tracking = record["output"]["tracking"].as_str().expect("a tracking number");
    assert!(tracking.starts_with("parcel-"), "{tracking}");
    let elsewhere = "SELECT count(*) FROM finished_tasks WHERE queue <> 'fulfillment_queue'";
    assert_eq!(count(&db, elsewhere).await, 0);
    let retried = "SELECT count(*) FROM finished_tasks WHERE step = 'process_payment' AND attempts = 2";
    assert_eq!(count(&db, retried).await, 1);
}

#[sqlx::test(migrations = false)]
async fn a_payment_is_booked_and_a_refused_one_is_reported_instead(db: PgPool) {
    let example = Example::start(&db, "payment-pipeline", "payment-pipeline", "payments_queue").await;
    let paid = example.run("card_payment", "payment.json").await;
    assert_eq!(paid["status"], json!("complete"), "{paid}");
    assert_eq!(
        paid["output"],
        json!({"booked": "payment-1: 4990 cents", "refused": null})
    );
    let refused = example.run("card_payment", "refused.json").await;
    assert_eq!(refused["status"], json!("complete"), "{refused}");
    let reported = "payment-2: the bank refused the card";
    assert_eq!(refused["output"], json!({"booked": null, "refused": reported}));
    assert_eq!(state(&refused, "book"), "skipped");
}

#[sqlx::test(migrations = false)]
async fn a_night_is_extracted_transformed_and_loaded(db: PgPool) {
    let example = Example::start(&db, "etl-dag", "tasker-worker", "default").await;
    let record = example.run("nightly", "night.json").await;
    assert_eq!(record["status"], json!("complete"), "{record}");
    assert_eq!(
        record["output"],
        json!({"day": "2026-11-30", "warehouse": 100, "search": 100})
    );
}
