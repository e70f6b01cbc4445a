//! The running stack: an API and workers, on a database and a queue of their own.

use std::process::Command;
use std::time::Duration;

use deadpool_redis::redis;
use futures_util::future::try_join_all;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::environment::{Environment, Sandbox};
use crate::process::Process;
use crate::system::{Watch, free_address, until_ready};

/// Where the stack's files are.
pub(super) const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rq");
const SCHEMA: &str = include_str!("../../rq/schema.sql");
/// A worker waits for two commits a task, and another can compute meanwhile.
const WORKERS_PER_CORE: usize = 2;
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What RQ runs a job in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerClass {
    /// A process that is forked for it: RQ's default.
    Forking,
    /// The worker's own process.
    Simple,
}

impl WorkerClass {
    /// Its name in RQ.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forking => "Worker",
            Self::Simple => "SimpleWorker",
        }
    }
}

/// The stack.
#[derive(Debug)]
pub(super) struct Stack<'e> {
    env: &'e Environment,
    sandbox: Sandbox,
    api: Process,
    workers: Vec<Process>,
    /// Where the API listens.
    pub(super) url: String,
}

impl<'e> Stack<'e> {
    /// The API on an empty table, no worker.
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

    /// Starts workers.
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

    /// Its database.
    pub(super) fn pool(&self) -> &PgPool {
        &self.sandbox.pool
    }

    /// Tasks that have not completed.
    pub(super) async fn open_tasks(&self) -> anyhow::Result<u64> {
        let sql = "SELECT count(*) FROM tasks WHERE status <> 'completed'";
        let open: i64 = sqlx::query_scalar(sql).fetch_one(self.pool()).await?;
        Ok(open.unsigned_abs())
    }

    /// Waits until all have.
    pub(super) async fn until_idle(&mut self) -> anyhow::Result<()> {
        let mut watch = Watch::new(Instant::now());
        loop {
            let open = self.open_tasks().await?;
            if open == 0 {
                return Ok(());
            }
            watch.ensure_moving(open, Instant::now())?;
            self.api.ensure_alive()?;
            self.workers.iter_mut().try_for_each(Process::ensure_alive)?;
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Ends it all and drops its database.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        try_join_all(self.workers.into_iter().map(Process::terminate)).await?;
        self.api.terminate().await?;
        // RQ's set of queues outlives them
        let _: u64 = redis::cmd("SREM")
            .arg("rq:queues")
            .arg(format!("rq:queue:{}", self.sandbox.name()))
            .query_async(&mut self.sandbox.redis)
            .await?;
        self.env.discard(self.sandbox).await
    }
}

/// A program of the virtual environment.
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
