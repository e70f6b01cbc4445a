//! The pure decisions on the path of a submit, without Postgres and Redis: `cargo bench --all-features`.

use std::hint::black_box;
use std::time::Duration;

use chrono::{DateTime, Utc};
use criterion::{BatchSize, Criterion, Throughput};
use serde_json::json;
use tasker_core::json::canonical;
use tasker_core::role::Role;
use tasker_core::task::QueueName;
use tasker_server::auth::token::Tokens;
use tasker_server::submit::fingerprint::fingerprint;
use tasker_server::submit::headers::Headers;
use tasker_server::submit::request::{read, read_batch, read_single};
use tasker_server::submit::validate::{Rules, validate};
use tasker_server::types::TypeTable;
use tasker_store::insert::NewTask;
use tasker_store::task_types::TaskType;

/// The number of tasks in a batch.
const BATCH: usize = 1_000;

fn main() {
    // short enough for all of them to finish within a minute
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    submits(&mut criterion);
    fingerprints(&mut criterion);
    tokens(&mut criterion);
    criterion.final_summary();
}

/// The registered types and declared queues of a server.
struct Known {
    types: TypeTable,
    queues: [QueueName; 3],
}

impl Known {
    fn new() -> Self {
        let plain = TaskType {
            name: "noop".to_owned(),
            description: String::new(),
            queue: None,
            priority: 0,
            max_retries: 3,
            timeout_seconds: 60.0,
            parameters_schema: None,
            result_schema: None,
            required_role: None,
        };
        let schema = json!({
            "type": "object",
            "required": ["to", "amount"],
            "properties": {
                "to": {"type": "string", "minLength": 1},
                "amount": {"type": "number", "minimum": 0},
                "lines": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
            },
        });
        let with_schema = TaskType {
            name: "invoice".to_owned(),
            parameters_schema: Some(schema.to_string()),
            ..plain.clone()
        };
        Self {
            types: TypeTable::of(vec![plain, with_schema], &TypeTable::default()),
            queues: QueueName::classes(),
        }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            types: &self.types,
            queues: &self.queues,
            now: DateTime::<Utc>::UNIX_EPOCH,
        }
    }

    fn task(&self, body: &[u8]) -> NewTask {
        let request = read_single(body).expect("a valid body");
        let valid = validate(&request, &Headers::default(), self.rules(), "").expect("a valid task");
        valid.task
    }

    fn batch(&self, body: &[u8]) -> Vec<NewTask> {
        let batch = read_batch(body).expect("a valid body");
        let task = |(index, raw): (usize, &&serde_json::value::RawValue)| {
            let at = format!("/tasks/{index}");
            let request = read(raw.get(), &at, Vec::new()).expect("a valid request");
            let valid = validate(&request, &Headers::default(), self.rules(), &at);
            valid.expect("a valid task").task
        };
        batch.tasks.iter().enumerate().map(task).collect()
    }
}

/// Returns the body of an invoice with this number of lines, each of about 60 bytes.
fn invoice(lines: usize) -> serde_json::Value {
    let line = |number| json!({"sku": format!("article-{number}"), "count": number, "price": 12.5});
    json!({
        "task_name": "invoice",
        "parameters": {
            "to": "ops@example.org",
            "amount": 1234.50,
            "lines": (0..lines).map(line).collect::<Vec<_>>(),
        },
        "tags": ["billing", "eu"],
    })
}

fn submits(criterion: &mut Criterion) {
    let known = Known::new();
    let mut group = criterion.benchmark_group("submit");
    for (name, body) in [
        ("no parameters", json!({"task_name": "noop"})),
        ("1 kB against a schema", invoice(16)),
        ("64 kB against a schema", invoice(1_000)),
    ] {
        let body = body.to_string().into_bytes();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| known.task(black_box(&body))));
    }
    let body = json!({"tasks": vec![invoice(1); BATCH]}).to_string().into_bytes();
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("batch of 1,000", |bencher| {
        bencher.iter_batched(|| (), |()| known.batch(black_box(&body)), BatchSize::LargeInput);
    });
    group.finish();
}

fn fingerprints(criterion: &mut Criterion) {
    let task = Known::new().task(invoice(16).to_string().as_bytes());
    let mut group = criterion.benchmark_group("idempotency");
    group.throughput(Throughput::Bytes(task.parameters.len() as u64));
    group.bench_function("canonical JSON of 1 kB", |bencher| {
        bencher.iter(|| canonical(black_box(&task.parameters)));
    });
    group.bench_function("request hash of 1 kB", |bencher| {
        bencher.iter(|| fingerprint(black_box(&task)));
    });
    group.finish();
}

fn tokens(criterion: &mut Criterion) {
    let tokens = Tokens::new(None);
    let token = tokens.issue("ops", Role::Operator).expect("a token");
    let mut group = criterion.benchmark_group("token");
    group.bench_function("issue", |bencher| {
        bencher.iter(|| tokens.issue(black_box("ops"), Role::Operator));
    });
    group.bench_function("verify", |bencher| {
        bencher.iter(|| tokens.read(black_box(&token)));
    });
    group.finish();
}
