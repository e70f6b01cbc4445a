//! A running system: the built binaries with the test's own database and key prefix.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::{ConnectOptions, PgPool};
use tempfile::TempDir;

use crate::{Process, TestQueue, eventually, free_port, http_client};

/// Time for a process to become ready, long enough for many at once on a busy machine.
const START: Duration = Duration::from_mins(2);
/// Number of attempts to start a process if another one takes its port.
const PORT_TRIES: usize = 5;
/// Timeout of one request, longer than the longest `?wait` of 60 s.
const REQUEST: Duration = Duration::from_secs(70);

/// The common environment of the processes of one test.
#[derive(Debug)]
pub struct System {
    queue: TestQueue,
    environment: BTreeMap<String, String>,
    folder: TempDir,
    http: reqwest::Client,
}

impl System {
    /// Creates a system on the database of `db` and the Redis of `REDIS_URL`, without processes.
    pub fn new(db: &PgPool) -> Self {
        Self::on(db.connect_options().to_url_lossy().as_str(), &crate::redis_url())
    }

    /// Creates a system on any database and Redis, without processes.
    ///
    /// # Panics
    /// If the folder for logs cannot be created.
    pub fn on(database_url: &str, redis_url: &str) -> Self {
        let queue = TestQueue::at(redis_url);
        let environment = [
            ("DATABASE_URL", database_url),
            ("REDIS_URL", redis_url),
            ("QUEUE_KEY_PREFIX", &queue.config().key_prefix),
            ("TASKER_ENV", "test"),
            ("RUST_LOG", "info"),
            ("DB_POOL_SIZE", "5"),
        ];
        Self {
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            queue,
            folder: tempfile::tempdir().expect("a folder for the test"),
            http: http_client()
                .timeout(REQUEST)
                .build()
                .expect("a client without options"),
        }
    }

    /// Sets a variable for every process started from now on.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes a variable from every process started from now on.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Returns the Redis queues of this system.
    pub fn queue(&self) -> &TestQueue {
        &self.queue
    }

    /// Starts a server with additional variables and waits until it is ready.
    pub async fn server(&self, environment: &[(&str, &str)]) -> Running {
        self.start("tasker-server", "LISTEN_ADDRS", environment).await
    }

    /// Starts `count` servers concurrently and waits until all are ready.
    pub async fn servers(&self, count: usize) -> Vec<Running> {
        join_all((0..count).map(|_| self.server(&[]))).await
    }

    /// Starts a worker with additional variables and waits until it is ready.
    pub async fn worker(&self, environment: &[(&str, &str)]) -> Running {
        self.start("tasker-worker", "WORKER_LISTEN_ADDR", environment)
            .await
    }

    /// Starts a worker with these task types, which sleep for their parameter `seconds`, and waits until it
    /// is ready.
    pub async fn worker_of_types(&self, types: &str, environment: &[(&str, &str)]) -> Running {
        let environment = [&[("TYPES", types)], environment].concat();
        self.start("typed-worker", "WORKER_LISTEN_ADDR", &environment)
            .await
    }

    /// Starts a worker of the workspace by the name of its program, and waits until it is ready.
    pub async fn worker_program(&self, program: &str, environment: &[(&str, &str)]) -> Running {
        self.start(program, "WORKER_LISTEN_ADDR", environment).await
    }

    /// Starts `count` workers concurrently and waits until all are ready.
    pub async fn workers(&self, count: usize) -> Vec<Running> {
        join_all((0..count).map(|_| self.worker(&[]))).await
    }

    /// Starts a program once without waiting for readiness: for starts that should fail, and callers that
    /// wait.
    pub fn spawn(&self, program: &str, address_variable: &str, environment: &[(&str, &str)]) -> Running {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = self.command(program);
        command
            .env(address_variable, &address)
            .envs(environment.iter().copied());
        Running {
            process: Process::start(program, command, self.folder.path()),
            url: format!("http://{address}"),
            http: self.http.clone(),
        }
    }

    /// Starts a program with arguments, without waiting.
    pub fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let mut command = self.command(program);
        command.args(arguments).envs(environment.iter().copied());
        Process::start(program, command, self.folder.path())
    }

    /// Returns the output of all processes of this system, including those that have ended.
    ///
    /// # Panics
    /// If the logs cannot be read.
    pub fn logs(&self) -> String {
        let entries = std::fs::read_dir(self.folder.path()).expect("the folder of the logs");
        let files = entries.map(|entry| entry.expect("a file in it").path());
        let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path| std::fs::read(path).expect("a readable log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    /// Returns the test's own folder, deleted with the system.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Builds the command of a program with only the variables of this system.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(&self.environment)
            // outside the checkout, whose config folder would be read
            .current_dir(self.folder.path());
        command
    }

    async fn start(&self, program: &str, address_variable: &str, environment: &[(&str, &str)]) -> Running {
        for _ in 0..PORT_TRIES {
            let mut running = self.spawn(program, address_variable, environment);
            if running.ready().await {
                return running;
            }
            let log = running.process.log();
            assert!(
                log.to_lowercase().contains("address already in use"),
                "{program} did not start"
            );
        }
        panic!("{program} found no free port in {PORT_TRIES} attempts");
    }
}

/// Returns the path of a program built with this test, or in the folder `TASKER_BIN_DIR`.
fn binary(program: &str) -> PathBuf {
    let folder = std::env::var_os("TASKER_BIN_DIR").map_or_else(
        || {
            let test = std::env::current_exe().expect("a test knows its own file");
            test.ancestors()
                .nth(2)
                .expect("target/<profile>/deps/<test>")
                .to_owned()
        },
        PathBuf::from,
    );
    let path = folder.join(program);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace`",
        path.display()
    );
    path
}

/// A running server or worker that serves HTTP.
#[derive(Debug)]
pub struct Running {
    /// The process, for signals and its log.
    pub process: Process,
    /// Base URL of its HTTP port.
    pub url: String,
    /// HTTP client of the requests.
    pub http: reqwest::Client,
}

impl Running {
    /// Waits until it is ready; returns false if it ends first.
    ///
    /// # Panics
    /// If it neither becomes ready nor ends in time.
    pub async fn ready(&mut self) -> bool {
        let url = format!("{}/health/ready", self.url);
        let mut ready = false;
        eventually("the process is ready", START, async || {
            let answer = self.http.get(&url).send().await;
            ready = answer.is_ok_and(|answer| answer.status().is_success());
            ready || self.process.ended().is_some()
        })
        .await;
        ready
    }

    /// Sends a GET; returns status and body, null if the body is not JSON.
    ///
    /// # Panics
    /// If the request fails.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.http.get(format!("{}{path}", self.url))).await
    }

    /// Posts JSON; returns status and body, null if the body is not JSON.
    ///
    /// # Panics
    /// If the request fails.
    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.http.post(format!("{}{path}", self.url)).json(body)).await
    }

    /// Submits a task and returns its id.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn submit(&self, body: &Value) -> String {
        let (status, answer) = self.post("/tasks/submit", body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        answer["task_id"].as_str().expect("the id of the task").to_owned()
    }

    /// Returns the record of a task.
    ///
    /// # Panics
    /// If the task does not exist.
    pub async fn task(&self, id: &str) -> Value {
        let (status, task) = self.get(&format!("/tasks/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{task}");
        task
    }

    /// Waits until a task has `status`, and returns its record.
    ///
    /// # Panics
    /// If it does not reach `status` within `deadline`.
    pub async fn wait_for(&self, id: &str, status: &str, deadline: Duration) -> Value {
        let mut task = Value::Null;
        let what = format!("task {id} is {status}");
        eventually(&what, deadline, async || {
            task = self.task(id).await;
            task["status"] == status
        })
        .await;
        task
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let body = answer.bytes().await.expect("a whole answer");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}
