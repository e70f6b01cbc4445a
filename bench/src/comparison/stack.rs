//! The running Python stack: an API and workers, with their own database and queue.

use std::process::Command;
use std::time::Duration;

use futures_util::future::try_join_all;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::environment::{Environment, Sandbox};
use crate::process::Process;
use crate::system::{StallDetector, free_address, until_ready};

/// The folder of the stack's Python files.
pub(super) const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rq");
const SCHEMA: &str = include_str!("../../rq/schema.sql");
/// Two, since a worker waits for two commits per task, during which another can use the core.
const WORKERS_PER_CORE: usize = 2;
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The worker class of RQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerClass {
    /// Forks a process for each job: RQ's default.
    Forking,
    /// Runs jobs in the worker's own process.
    Simple,
}

impl WorkerClass {
    /// Returns the class name in RQ.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forking => "Worker",
            Self::Simple => "SimpleWorker",
        }
    }
}

/// The running processes with their database.
#[derive(Debug)]
pub(super) struct Stack<'e> {
    env: &'e Environment,
    sandbox: Sandbox,
    api: Process,
    workers: Vec<Process>,
    /// URL of the API.
    pub(super) url: String,
}

impl<'e> Stack<'e> {
    /// Starts the API on an empty table, without a worker.
    pub(super) async fn start(env: &'e Environment) -> anyhow::Result<Self> {
        let sandbox = env.sandbox().await?;
        sqlx::raw_sql(SCHEMA).execute(&sandbox.pool).await?;
        sqlx::query("CHECKPOINT").execute(&env.admin).await?;
        let address = free_address()?;
        let (host, port) = address.split_once(':').unwrap_or((&address, "0"));
        let mut command = program(env, &sandbox, "uvicorn");
        command
            .args(["api:app", "--app-dir", FILES, "--host", host, "--port", port])
            .args([
                "--workers",
                &cores().to_string(),
                "--loop",
                "uvloop",
                "--http",
                "httptools",
            ])
            .args(["--no-access-log", "--log-level", "warning"]);
        let mut api = Process::start("uvicorn", command, env.log("uvicorn"))?;
        let url = format!("http://{address}");
        if !until_ready(env, &mut api, &url).await? {
            api.ensure_alive()?;
        }
        Ok(Self {
            env,
            sandbox,
            api,
            workers: Vec::new(),
            url,
        })
    }

    /// Starts two workers for each core.
    pub(super) fn add_workers(&mut self, class: WorkerClass) -> anyhow::Result<()> {
        let queue = self.sandbox.name();
        for number in 0..cores() * WORKERS_PER_CORE {
            let mut command = program(self.env, &self.sandbox, "python");
            command.args(["worker.py", class.name(), &format!("{queue}-{number}")]);
            let worker = Process::start("an rq worker", command, self.env.log("rq"))?;
            self.workers.push(worker);
        }
        Ok(())
    }

    /// Returns the connections to its database.
    pub(super) fn pool(&self) -> &PgPool {
        &self.sandbox.pool
    }

    /// Returns the number of tasks that have not completed.
    pub(super) async fn open_tasks(&self) -> anyhow::Result<u64> {
        let sql = "SELECT count(*) FROM tasks WHERE status <> 'completed'";
        let open: i64 = sqlx::query_scalar(sql).fetch_one(self.pool()).await?;
        Ok(open.unsigned_abs())
    }

    /// Waits until all tasks have completed.
    pub(super) async fn until_idle(&mut self) -> anyhow::Result<()> {
        let mut stalls = StallDetector::new(Instant::now());
        loop {
            let open = self.open_tasks().await?;
            if open == 0 {
                return Ok(());
            }
            stalls.ensure_progress(open, Instant::now())?;
            self.api.ensure_alive()?;
            self.workers.iter_mut().try_for_each(Process::ensure_alive)?;
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Stops the processes and drops the database.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        try_join_all(self.workers.into_iter().map(Process::terminate)).await?;
        self.api.terminate().await?;
        // RQ never removes a queue from its set of queues
        let _: u64 = redis::cmd("SREM")
            .arg("rq:queues")
            .arg(format!("rq:queue:{}", self.sandbox.name()))
            .query_async(&mut self.sandbox.redis)
            .await?;
        self.env.discard(self.sandbox).await
    }
}

/// Builds the command of a program in the virtual environment.
fn program(env: &Environment, sandbox: &Sandbox, name: &str) -> Command {
    let mut command = Command::new(env.arguments.venv.join("bin").join(name));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DATABASE_URL", sandbox.url.as_str())
        .env("REDIS_URL", &env.arguments.redis_url)
        .env("RQ_QUEUE", sandbox.name())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(FILES);
    command
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
