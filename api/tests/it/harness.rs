//! A running server in the test's own process, on a database of its own.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_config::ServerConfig;
use tasker_core::role::Role;
use tasker_core::task::{QueueName, Run, TaskId};
use tasker_platform::host::Host;
use tasker_platform::lifecycle::Shutdown;
use tasker_platform::telemetry::Metrics;
use tasker_queue::RedisQueues;
use tasker_server::known_names::KnownNames;
use tasker_server::problems::ProblemType;
use tasker_server::state::parts::QueueControl;
use tasker_server::state::{AppState, Connections};
use tasker_store::claim::{Claimant, claim};
use tasker_store::complete::{Success, complete};
use tasker_store::end_runs::{EndedRun, Verdict, end_runs};
use tasker_store::task_types::{TaskType, publish};
use tasker_store::workers::{NewWorker, register};
use tower::ServiceExt as _;

/// The time limit for a condition to become true.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server.
pub(crate) struct Server {
    pub(crate) db: PgPool,
    pub(crate) state: AppState,
    router: Router,
    pub(crate) shutdown: Shutdown,
}

/// A response, read completely.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

struct Variables(HashMap<&'static str, String>);

impl Host for Variables {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.0.get(name).map(OsString::from)
    }

    fn read(&self, _path: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// Returns a configuration with `extra` variables.
pub(crate) fn config(extra: &[(&'static str, &str)]) -> ServerConfig {
    let mut variables = HashMap::from([
        ("DATABASE_URL", variable("DATABASE_URL")),
        ("REDIS_URL", variable("REDIS_URL")),
        ("QUEUE_KEY_PREFIX", format!("test:{}:", TaskId::generate())),
        ("LISTEN_ADDRS", "127.0.0.1:0".to_owned()),
    ]);
    variables.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
    ServerConfig::load_from(["tasker-server"], &Variables(variables)).expect("a sound configuration")
}

/// Returns a type that accepts any object.
pub(crate) fn task_type(name: &str) -> TaskType {
    TaskType {
        name: name.to_owned(),
        description: format!("does {name}"),
        queue: None,
        priority: 0,
        max_retries: 3,
        timeout_seconds: 3600.0,
        parameters_schema: Some(r#"{"type":"object"}"#.to_owned()),
        result_schema: None,
        required_role: None,
    }
}

impl Server {
    /// Starts a server with the types `noop` and `strict`, which requires an integer `n`.
    pub(crate) async fn start(db: PgPool) -> Self {
        Self::start_with(db, &[]).await
    }

    /// Starts a server with `extra` variables.
    pub(crate) async fn start_with(db: PgPool, extra: &[(&'static str, &str)]) -> Self {
        Self::start_over(db.clone(), db, extra).await
    }

    /// Starts a server with `extra` variables that reaches the database of `db` through `link`.
    pub(crate) async fn start_over(link: PgPool, db: PgPool, extra: &[(&'static str, &str)]) -> Self {
        let strict = TaskType {
            parameters_schema: Some(
                r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#
                    .to_owned(),
            ),
            result_schema: Some(r#"{"type":"integer"}"#.to_owned()),
            required_role: Some(Role::Submitter),
            ..task_type("strict")
        };
        publish(&db, &[task_type("noop"), strict])
            .await
            .expect("published");
        let config = config(extra);
        let shutdown = Shutdown::new();
        let queue = Arc::new(RedisQueues::new(&config.redis).expect("a sound URL"));
        let connections = Connections { db: link, queue };
        let state = AppState::start(&config, connections, Metrics::detached(), &shutdown);
        let server = Self {
            router: tasker_server::router(state.clone()),
            db,
            state,
            shutdown,
        };
        eventually(async || server.part::<KnownNames>().types.current().get("noop").map(drop)).await;
        server
    }

    /// Returns a part of the state.
    pub(crate) fn part<T: FromRef<AppState>>(&self) -> T {
        T::from_ref(&self.state)
    }

    /// Returns the connections to Redis.
    pub(crate) fn lists(&self) -> Arc<RedisQueues> {
        self.part::<QueueControl>().lists
    }

    /// Returns the paths of the router, parsed from its `Debug` text, since it has no public list of them.
    pub(crate) fn paths(&self) -> BTreeSet<String> {
        let shown = format!("{:?}", self.router);
        let texts = shown.split('"').skip(1).step_by(2);
        // the path of the fallback is not a route
        let routes =
            texts.filter(|text| text.starts_with('/') && *text != "/" && !text.contains("__private__"));
        routes.map(ToOwned::to_owned).collect()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        }
    }

    pub(crate) async fn call(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        self.send(request.expect("a request")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl ToString) -> Answer {
        self.send(json_request(path, body)).await
    }

    /// Submits a task and returns its id.
    pub(crate) async fn submit(&self, body: Value) -> TaskId {
        let answer = self.post("/tasks/submit", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.id()
    }

    /// Returns the ids in a queue's list without popping them.
    pub(crate) async fn depth(&self, queue: &QueueName) -> u64 {
        let depths = self.lists().depths(std::slice::from_ref(queue)).await;
        depths.expect("Redis answers")[0]
    }

    pub(crate) async fn rows(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM tasks")
            .fetch_one(&self.db)
            .await
            .expect("a count")
    }

    /// Claims `id` for a new worker, and returns that worker and the run.
    pub(crate) async fn run(&self, id: TaskId) -> (String, Run) {
        let worker = NewWorker {
            id: format!("w-{}", TaskId::generate()),
            hostname: "host".to_owned(),
            pid: 1,
            version: "0".to_owned(),
            queues: QueueName::classes().to_vec(),
            task_names: vec!["noop".to_owned()],
            pool_size: 1,
            liveness_key: None,
        };
        register(&self.db, &worker).await.expect("registered");
        let claimant = Claimant {
            worker_id: &worker.id,
            queues: &worker.queues,
            task_names: &worker.task_names,
            runs_suspect: false,
        };
        let claimed = claim(&self.db, &claimant, &[id]).await.expect("claimed");
        let run = claimed.tasks.first().expect("a claim").run;
        (worker.id, run)
    }

    /// Completes `id` successfully.
    pub(crate) async fn finish(&self, id: TaskId, result: &str) {
        let (worker, run) = self.run(id).await;
        let success = Success {
            run,
            result: result.to_owned(),
            progress: None,
        };
        assert_eq!(
            complete(&self.db, &worker, &[success])
                .await
                .expect("completed")
                .len(),
            1
        );
    }

    /// Completes `id` with a failure.
    pub(crate) async fn fail(&self, id: TaskId, verdict: Verdict) {
        let (worker, run) = self.run(id).await;
        let ended = EndedRun {
            run,
            verdict,
            reason: "failed",
            error: Some("boom".to_owned()),
        };
        assert_eq!(
            end_runs(&self.db, &worker, &[ended]).await.expect("ended").len(),
            1
        );
    }

    /// Stops the server and checks that no task of it panicked.
    pub(crate) async fn stop(self) {
        self.shutdown.soft().cancel();
        self.state.end_submits();
        assert!(self.shutdown.drained().await);
        assert!(!self.shutdown.panicked());
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn id(&self) -> TaskId {
        self.json()["task_id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id")
    }

    /// Checks that this is a problem document with that status, and returns its code.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], json!(status));
        assert_eq!(
            problem["request_id"].as_str(),
            self.headers["x-request-id"].to_str().ok()
        );
        assert!(problem["detail"].is_string(), "{problem}");
        let code = problem["code"].as_str().expect("a code").to_owned();
        let kind = ProblemType::find(&code).unwrap_or_else(|| panic!("{code} is not in the table"));
        assert_eq!(
            (problem["type"].as_str(), problem["title"].as_str()),
            (Some(kind.address().as_str()), Some(kind.title))
        );
        assert_eq!(kind.status.as_u16(), status);
        code
    }

    /// Returns the seconds in `Retry-After`.
    pub(crate) fn retry_after(&self) -> u64 {
        let header = self.headers["retry-after"].to_str().expect("text");
        header.parse().expect("seconds")
    }

    /// Returns the pointers of the validation errors.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["pointer"].as_str().map(ToOwned::to_owned))
            .collect()
    }
}

/// Returns a POST request with a JSON body.
#[expect(
    clippy::needless_pass_by_value,
    reason = "bodies are made where they are sent"
)]
pub(crate) fn json_request(path: &str, body: impl ToString) -> Request<Body> {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a request")
}

/// Polls until `look` returns a value.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come true in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
