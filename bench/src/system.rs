//! The system that a line measures: a server and workers, on a database and a key prefix of their own.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::environment::{Environment, Sandbox};
use crate::process::Process;
use crate::rows;
use crate::usage::{self, Memory};

/// How long a process may take until it is ready.
const START: Duration = Duration::from_mins(1);
/// Starting is measured, so looks are close.
const START_LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// How often a start is tried when somebody else took the port meanwhile.
const PORT_TRIES: usize = 5;
/// Between looks at how far a load has come: rare enough not to disturb it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A load of which nothing is done for so long is stuck.
const STUCK: Duration = Duration::from_mins(1);

/// A server, and workers as they are wanted.
#[derive(Debug)]
pub(crate) struct System<'e> {
    pub(crate) env: &'e Environment,
    pub(crate) sandbox: Sandbox,
    pub(crate) server: Service,
    pub(crate) workers: Vec<Service>,
}

/// A process that serves HTTP.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) url: String,
    /// From its start until it was ready.
    pub(crate) started_in: Duration,
}

/// The most memory that the processes of a system had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peaks {
    pub(crate) server: u64,
    /// Of the worker that had most.
    pub(crate) worker: u64,
}

impl<'e> System<'e> {
    /// A server on an empty database, which it migrates.
    pub(crate) async fn bare(env: &'e Environment) -> anyhow::Result<Self> {
        let sandbox = env.sandbox().await?;
        let server = start(env, &sandbox, "tasker-server", &[]).await?;
        Ok(Self {
            env,
            sandbox,
            server,
            workers: Vec::new(),
        })
    }

    /// A server that knows the task types and has done a task: a worker was there and is gone.
    pub(crate) async fn start(env: &'e Environment) -> anyhow::Result<Self> {
        let mut system = Self::bare(env).await?;
        system.add_workers(1, 1).await?;
        let url = format!("{}/tasks/submit", system.server.url);
        let answer = env.http.post(url).body(r#"{"task_name":"noop"}"#);
        let answer = answer.header("content-type", "application/json").send().await?;
        ensure!(
            answer.status() == 202,
            "the first task was answered {}",
            answer.status()
        );
        system.until_idle().await?;
        system.stop_workers().await?;
        // what the start left to be written would be written during the measurement
        sqlx::query("CHECKPOINT")
            .execute(&env.admin)
            .await
            .context("cannot checkpoint")?;
        Ok(system)
    }

    /// Starts workers at once and waits until all are ready.
    pub(crate) async fn add_workers(&mut self, count: usize, pool_size: u32) -> anyhow::Result<()> {
        let pool_size = pool_size.to_string();
        let settings = [("WORKER_POOL_SIZE", pool_size.as_str())];
        let starts = (0..count).map(|_| start(self.env, &self.sandbox, "tasker-worker", &settings));
        let started = try_join_all(starts).await?;
        self.workers.extend(started);
        Ok(())
    }

    /// Lets the workers finish what they run, and end.
    pub(crate) async fn stop_workers(&mut self) -> anyhow::Result<()> {
        let ends = self.workers.drain(..).map(|worker| worker.process.terminate());
        try_join_all(ends).await?;
        Ok(())
    }

    /// Waits until no task is alive.
    pub(crate) async fn until_idle(&mut self) -> anyhow::Result<()> {
        self.until_depth(0).await?;
        let mut watch = Watch::new(Instant::now());
        loop {
            let alive = rows::alive(&self.sandbox.pool).await?;
            if alive == 0 {
                return Ok(());
            }
            self.look(&mut watch, alive).await?;
        }
    }

    /// Waits until at most `depth` ids wait in the list.
    pub(crate) async fn until_depth(&mut self, depth: u64) -> anyhow::Result<()> {
        let mut watch = Watch::new(Instant::now());
        loop {
            let waiting = self.sandbox.depth().await?;
            if waiting <= depth {
                return Ok(());
            }
            self.look(&mut watch, waiting).await?;
        }
    }

    async fn look(&mut self, watch: &mut Watch, left: u64) -> anyhow::Result<()> {
        watch.ensure_moving(left, Instant::now())?;
        self.ensure_alive()?;
        sleep(LOOK_INTERVAL).await;
        Ok(())
    }

    /// Fails if one of the processes has ended.
    pub(crate) fn ensure_alive(&mut self) -> anyhow::Result<()> {
        self.server.process.ensure_alive()?;
        self.workers
            .iter_mut()
            .try_for_each(|worker| worker.process.ensure_alive())
    }

    /// The memory of the server, and of the worker that has most.
    pub(crate) fn memory(&self) -> anyhow::Result<(Memory, Option<Memory>)> {
        let server = usage::memory(self.server.process.pid())?;
        let mut workers = Vec::new();
        for worker in &self.workers {
            workers.push(usage::memory(worker.process.pid())?);
        }
        Ok((server, workers.into_iter().max_by_key(|memory| memory.peak)))
    }

    /// The most memory so far.
    pub(crate) fn peaks(&self) -> anyhow::Result<Peaks> {
        let (server, worker) = self.memory()?;
        Ok(Peaks {
            server: server.peak,
            worker: worker.map_or(0, |worker| worker.peak),
        })
    }

    /// Ends it all and drops its database.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_workers().await?;
        self.server.process.terminate().await?;
        self.env.discard(self.sandbox).await
    }
}

/// Whether what is left still changes.
pub(crate) struct Watch {
    left: u64,
    since: Instant,
}

impl Watch {
    /// Nothing has been seen yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: u64::MAX,
            since: now,
        }
    }

    /// Fails when `left` has been the same for too long.
    pub(crate) fn ensure_moving(&mut self, left: u64, now: Instant) -> anyhow::Result<()> {
        if left != self.left {
            (self.left, self.since) = (left, now);
        }
        ensure!(
            now.duration_since(self.since) < STUCK,
            "nothing happened for {} s, and {left} tasks are left",
            STUCK.as_secs()
        );
        Ok(())
    }
}

/// Makes the schema in an empty database, as a server does, and leaves no server.
pub(crate) async fn migrate(env: &Environment, sandbox: &Sandbox) -> anyhow::Result<()> {
    let mut command = env.program("tasker-server");
    command.args(["migrate", "run"]).envs(variables(env, sandbox));
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the migrations do not run: {said}");
    Ok(())
}

async fn start(
    env: &Environment,
    sandbox: &Sandbox,
    program: &str,
    settings: &[(&str, &str)],
) -> anyhow::Result<Service> {
    let address_variable = match program {
        "tasker-server" => "LISTEN_ADDRS",
        _ => "WORKER_LISTEN_ADDR",
    };
    for _ in 0..PORT_TRIES {
        let address = free_address()?;
        let mut command = env.program(program);
        command
            .envs(variables(env, sandbox))
            .env(address_variable, &address)
            .envs(settings.iter().copied());
        let url = format!("http://{address}");
        let started_at = Instant::now();
        let mut process = Process::start(program, command, env.log(program))?;
        if until_ready(env, &mut process, &url).await? {
            let started_in = started_at.elapsed();
            return Ok(Service {
                process,
                url,
                started_in,
            });
        }
        if !process
            .log_end()
            .to_lowercase()
            .contains("address already in use")
        {
            process.ensure_alive()?;
        }
    }
    bail!("{program} found no free port in {PORT_TRIES} tries")
}

/// Waits until the process is ready; answers whether it is, or ended instead.
pub(crate) async fn until_ready(env: &Environment, process: &mut Process, url: &str) -> anyhow::Result<bool> {
    let url = format!("{url}/health/ready");
    let deadline = Instant::now() + START;
    loop {
        let answer = env.http.get(&url).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(true);
        }
        if process.ended()?.is_some() {
            return Ok(false);
        }
        ensure!(
            Instant::now() < deadline,
            "not ready within {} s; the end of its log:\n{}",
            START.as_secs(),
            process.log_end()
        );
        sleep(START_LOOK_INTERVAL).await;
    }
}

fn variables<'a>(env: &'a Environment, sandbox: &'a Sandbox) -> [(&'static str, &'a str); 4] {
    [
        ("DATABASE_URL", sandbox.url.as_str()),
        ("REDIS_URL", &env.arguments.redis_url),
        ("QUEUE_KEY_PREFIX", &sandbox.prefix),
        ("LOG_FORMAT", "json"),
    ]
}

/// A loopback address that nobody uses at this moment.
pub(crate) fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    Ok(listener.local_addr()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_stuck_when_nothing_happens_for_a_minute() {
        let mut now = Instant::now();
        let mut watch = Watch::new(now);
        for left in [9, 8, 8, 7, 7] {
            assert!(watch.ensure_moving(left, now).is_ok());
            now += STUCK / 2;
        }
        let error = watch.ensure_moving(7, now).expect_err("stuck").to_string();
        assert_eq!(error, "nothing happened for 60 s, and 7 tasks are left");
    }
}
