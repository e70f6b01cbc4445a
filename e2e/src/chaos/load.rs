//! Clients that continuously submit, cancel, retry and read tasks of all kinds, and record the responses in
//! the ledger.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tasker_testkit::http_client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fleet::Fleet;
use super::fleet::RARE_TYPE;
use super::http::{Response, ask, id_of};
use super::ledger::{Answer, CancelAnswer, Kind, Ledger, Submit};
use super::plan::SERVERS;

/// Number of concurrent clients.
const CLIENTS: u64 = 12;
/// Pause between two actions of a client.
const PAUSE_MS: std::ops::Range<u64> = 20..250;
/// Maximum number of repetitions of a request with a key while its outcome is unknown.
const TRIES: usize = 60;
/// Time between those.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum size of an ordinary batch, and the size of one that takes the server's lane for big batches.
const BATCH: (usize, usize) = (40, 1_200);

/// One client.
#[derive(Debug)]
struct Client {
    number: u64,
    acts: u64,
    rng: StdRng,
    http: reqwest::Client,
    fleet: Arc<Fleet>,
    ledger: Arc<Ledger>,
    /// Acknowledged requests with keys: their bodies and task ids.
    keyed: Vec<(Value, Uuid)>,
}

/// Runs the clients until `stop`, then lets them finish their current action.
///
/// # Panics
/// If a client panics.
pub(super) async fn run(fleet: &Arc<Fleet>, ledger: &Arc<Ledger>, seed: u64, stop: &CancellationToken) {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut client = Client {
            number,
            acts: 0,
            rng: StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(number)),
            http: http_client().build().expect("a client without options"),
            fleet: Arc::clone(fleet),
            ledger: Arc::clone(ledger),
            keyed: Vec::new(),
        };
        let stop = stop.clone();
        clients.spawn(async move {
            while !stop.is_cancelled() {
                client.act().await;
                let pause = Duration::from_millis(client.rng.random_range(PAUSE_MS));
                tokio::time::sleep(pause).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no client panics");
    }
}

impl Client {
    async fn act(&mut self) {
        self.acts += 1;
        match self.rng.random_range(0..100) {
            0..50 => self.submit_one().await,
            50..57 => self.submit_batch().await,
            57..72 => self.submit_with_a_key().await,
            72..80 => self.submit_and_cancel().await,
            80..83 => self.retry_by_hand().await,
            _ => self.read().await,
        }
    }

    fn tag(&self) -> String {
        format!("c{}-{}", self.number, self.acts)
    }

    async fn submit_one(&mut self) {
        let (kind, body) = self.task();
        let server = self.any_server();
        self.submit(server, kind, body, self.tag()).await;
    }

    async fn submit_batch(&mut self) {
        let size = if self.rng.random_bool(0.05) {
            BATCH.1
        } else {
            self.rng.random_range(2..=BATCH.0)
        };
        let tag = self.tag();
        let (echo, url) = (self.rng.random_bool(0.5), self.url_of_any("/tasks/submit/batch"));
        let tasks: Vec<Value> = (0..size)
            .map(|index| {
                let (name, priority) = (
                    if echo { "echo" } else { "noop" },
                    self.rng.random_range(-10..=10),
                );
                json!({"task_name": name, "priority": priority, "correlation_id": format!("{tag}/{index}")})
            })
            .collect();
        let response = ask(
            &self.fleet.log,
            self.http.post(url).json(&json!({"tasks": tasks})),
        )
        .await;
        let answer = match response {
            Response::Complete(202, body) => Answer::New(
                body["tasks"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(id_of)
                    .collect(),
            ),
            other => self.rejection(other, "a batch"),
        };
        self.ledger.submitted(Submit {
            tag,
            kind: Kind::Succeeding,
            size,
            key: None,
            answer,
        });
    }

    /// Sends the same request to both servers at once, then repeats it until a response names the task.
    async fn submit_with_a_key(&mut self) {
        let old = !self.keyed.is_empty() && self.rng.random_bool(0.3);
        let (body, known) = if old {
            let (body, id) = self.keyed[self.rng.random_range(0..self.keyed.len())].clone();
            (body, Some(id))
        } else {
            let body = json!({"task_name": "echo", "parameters": {"n": self.acts}, "idempotency_key": format!("key-{}", self.tag()),
                              "priority": self.rng.random_range(-10..=10)});
            (body, None)
        };
        let tag = self.tag();
        let (one, other) = tokio::join!(
            self.submit(0, Kind::Succeeding, body.clone(), format!("{tag}-a")),
            self.submit(1, Kind::Succeeding, body.clone(), format!("{tag}-b")),
        );
        let mut id = one.or(other);
        for attempt in 0..TRIES {
            if id.is_some() {
                break;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
            id = self
                .submit(
                    attempt % SERVERS,
                    Kind::Succeeding,
                    body.clone(),
                    format!("{tag}-{attempt}"),
                )
                .await;
        }
        match (id, known) {
            (Some(id), None) => self.keyed.push((body, id)),
            (Some(id), Some(known)) if id != known => {
                self.fleet
                    .log
                    .violation("a key names one task", &format!("{body}: {known}, then {id}"));
            }
            _ => {}
        }
    }

    async fn submit_and_cancel(&mut self) {
        let body = if self.rng.random_bool(0.5) {
            json!({"task_name": "echo", "delay": self.rng.random_range(0.5..4.0)})
        } else {
            json!({"task_name": "example_long_running", "parameters": {"duration": 3}, "priority": 10})
        };
        let server = self.any_server();
        let Some(id) = self.submit(server, Kind::Succeeding, body, self.tag()).await else {
            return;
        };
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..2_000))).await;
        let url = self.url_of_any(&format!("/tasks/{id}/cancel"));
        let answer = match ask(&self.fleet.log, self.http.post(url)).await {
            Response::Complete(200 | 202, _) => CancelAnswer::Accepted,
            Response::Complete(409, _) => CancelAnswer::TooLate,
            Response::NothingDone => CancelAnswer::NothingDone,
            Response::Unknown => CancelAnswer::Unknown,
            Response::Complete(status, body) => {
                self.fleet.log.violation(
                    "the status of a cancel is 200, 202, 409 or 503",
                    &format!("{id}: {status} {body}"),
                );
                CancelAnswer::Unknown
            }
        };
        self.ledger.cancelled(id, answer);
    }

    /// Retries a task as an operator, which succeeds for dead letters and cancelled tasks.
    async fn retry_by_hand(&mut self) {
        let Some(id) = self.any_acknowledged() else { return };
        // recorded before the request: its response may get lost although it took effect
        self.ledger.retried(id);
        let url = self.url_of_any(&format!("/tasks/{id}/retry"));
        if let Response::Complete(status, body) = ask(&self.fleet.log, self.http.post(url)).await
            && !matches!(status, 200 | 409)
        {
            self.fleet.log.violation(
                "the status of a retry is 200, 409 or 503",
                &format!("{id}: {status} {body}"),
            );
        }
    }

    async fn read(&mut self) {
        let Some(id) = self.any_acknowledged() else { return };
        let url = self.url_of_any(&format!("/tasks/{id}"));
        if let Response::Complete(status, body) = ask(&self.fleet.log, self.http.get(url)).await
            && status != 200
        {
            self.fleet
                .log
                .violation("an acknowledged task is found", &format!("{id}: {status} {body}"));
        }
    }

    /// Submits a task and returns its id if it was acknowledged.
    async fn submit(&self, server: usize, kind: Kind, mut body: Value, tag: String) -> Option<Uuid> {
        body["correlation_id"] = json!(tag);
        let key = body["idempotency_key"].as_str().map(str::to_owned);
        let request = self
            .http
            .post(format!("{}/tasks/submit", self.fleet.server(server)))
            .json(&body);
        let (id, answer) = match ask(&self.fleet.log, request).await {
            Response::Complete(202, task) => (Some(id_of(&task)), Answer::New(vec![id_of(&task)])),
            Response::Complete(200, task) if key.is_some() => {
                (Some(id_of(&task)), Answer::Known(id_of(&task)))
            }
            other => (None, self.rejection(other, &body.to_string())),
        };
        self.ledger.submitted(Submit {
            tag,
            kind,
            size: 1,
            key,
            answer,
        });
        id
    }

    fn rejection(&self, response: Response, what: &str) -> Answer {
        match response {
            Response::NothingDone => Answer::NothingDone,
            Response::Unknown => Answer::Unknown,
            Response::Complete(status, body) => {
                let seen = format!("{what}: {status} {body}");
                self.fleet
                    .log
                    .violation("a valid submit is accepted or rejected with 503", &seen);
                Answer::NothingDone
            }
        }
    }

    fn task(&mut self) -> (Kind, Value) {
        let mut kind = Kind::Succeeding;
        let mut body = match self.rng.random_range(0..100) {
            0..30 => {
                json!({"task_name": "echo", "parameters": {"n": self.acts, "text": "x".repeat(self.rng.random_range(0..3_000))}})
            }
            30..40 => json!({"task_name": "noop"}),
            40..50 => json!({"task_name": RARE_TYPE, "parameters": {"seconds": 0.2}}),
            50..60 => {
                json!({"task_name": "example_data_processing", "parameters": {"data_source": "chaos", "complexity": "basic"}})
            }
            60..68 => json!({"task_name": "example_failing", "parameters": {"should_fail": false}}),
            68..80 => {
                kind = Kind::Failing;
                json!({"task_name": "example_failing", "max_retries": self.rng.random_range(0..=2)})
            }
            80..95 => {
                json!({"task_name": "example_long_running", "parameters": {"duration": self.rng.random_range(1.0..5.0)}})
            }
            _ => {
                kind = Kind::Overlong;
                json!({"task_name": "example_long_running", "parameters": {"duration": 3}, "timeout": 0.5, "max_retries": 1})
            }
        };
        body["priority"] = json!(self.rng.random_range(-10..=10));
        if self.rng.random_bool(0.15) {
            body["delay"] = json!(self.rng.random_range(0.1..5.0));
        }
        (kind, body)
    }

    fn any_server(&mut self) -> usize {
        self.rng.random_range(0..SERVERS)
    }

    fn url_of_any(&mut self, path: &str) -> String {
        let server = self.any_server();
        format!("{}{path}", self.fleet.server(server))
    }

    fn any_acknowledged(&mut self) -> Option<Uuid> {
        let entries = self.ledger.entries();
        let count = entries.acknowledged.len();
        (count > 0).then(|| entries.acknowledged[self.rng.random_range(0..count)])
    }
}
