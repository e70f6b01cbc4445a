//! The measured system: a server and workers, with their own database and key prefix.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::environment::{Environment, Sandbox};
use crate::process::Process;
use crate::rows;
use crate::usage::{self, Memory};

/// Time for a process to become ready.
const START: Duration = Duration::from_mins(1);
/// Interval of readiness polls, short because the start time is a figure.
const START_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Number of attempts to start a process if another one takes its port.
const PORT_TRIES: usize = 5;
/// Interval of progress polls, long enough not to disturb the load.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time without progress after which a load counts as stuck.
const STUCK: Duration = Duration::from_mins(1);

/// A server and any number of workers.
#[derive(Debug)]
pub(crate) struct System<'e> {
    pub(crate) env: &'e Environment,
    pub(crate) sandbox: Sandbox,
    pub(crate) server: Service,
    pub(crate) workers: Vec<Service>,
}

/// A running process with an HTTP port.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) url: String,
    /// Time from its start to ready.
    pub(crate) started_in: Duration,
}

/// Peak memory of the processes of a system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peaks {
    pub(crate) server: u64,
    /// Of the worker with the highest peak, 0 without workers.
    pub(crate) worker: u64,
}

impl<'e> System<'e> {
    /// Starts a server on an empty database, which it migrates.
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

    /// Starts a server and warms it up: a worker registers the task types, runs one task and stops.
    pub(crate) async fn start(env: &'e Environment) -> anyhow::Result<Self> {
        let mut system = Self::bare(env).await?;
        system.add_workers(1, 1).await?;
        let url = format!("{}/tasks/submit", system.server.url);
        let answer = env.http.post(url).body(r#"{"task_name":"noop"}"#);
        let answer = answer.header("content-type", "application/json").send().await?;
        ensure!(
            answer.status() == 202,
            "the submit of the first task returned {}",
            answer.status()
        );
        system.until_idle().await?;
        system.stop_workers().await?;
        // otherwise dirty pages of the start would be written during the measurement
        sqlx::query("CHECKPOINT")
            .execute(&env.admin)
            .await
            .context("cannot checkpoint")?;
        Ok(system)
    }

    /// Starts `count` workers concurrently and waits until all are ready.
    pub(crate) async fn add_workers(&mut self, count: usize, pool_size: u32) -> anyhow::Result<()> {
        let pool_size = pool_size.to_string();
        let settings = [("WORKER_POOL_SIZE", pool_size.as_str())];
        let starts = (0..count).map(|_| start(self.env, &self.sandbox, "tasker-worker", &settings));
        let started = try_join_all(starts).await?;
        self.workers.extend(started);
        Ok(())
    }

    /// Stops the workers gracefully.
    pub(crate) async fn stop_workers(&mut self) -> anyhow::Result<()> {
        let ends = self.workers.drain(..).map(|worker| worker.process.terminate());
        try_join_all(ends).await?;
        Ok(())
    }

    /// Waits until every task has finished.
    pub(crate) async fn until_idle(&mut self) -> anyhow::Result<()> {
        self.until_depth(0).await?;
        let mut stalls = StallDetector::new(Instant::now());
        loop {
            let alive = rows::alive(&self.sandbox.pool).await?;
            if alive == 0 {
                return Ok(());
            }
            self.poll(&mut stalls, alive).await?;
        }
    }

    /// Waits until the queue has at most `depth` ids.
    pub(crate) async fn until_depth(&mut self, depth: u64) -> anyhow::Result<()> {
        let mut stalls = StallDetector::new(Instant::now());
        loop {
            let waiting = self.sandbox.depth().await?;
            if waiting <= depth {
                return Ok(());
            }
            self.poll(&mut stalls, waiting).await?;
        }
    }

    async fn poll(&mut self, stalls: &mut StallDetector, left: u64) -> anyhow::Result<()> {
        stalls.ensure_progress(left, Instant::now())?;
        self.ensure_alive()?;
        sleep(POLL_INTERVAL).await;
        Ok(())
    }

    /// Fails if one of the processes has ended.
    pub(crate) fn ensure_alive(&mut self) -> anyhow::Result<()> {
        self.server.process.ensure_alive()?;
        self.workers
            .iter_mut()
            .try_for_each(|worker| worker.process.ensure_alive())
    }

    /// Returns the memory of the server and of the worker with the highest peak.
    pub(crate) fn memory(&self) -> anyhow::Result<(Memory, Option<Memory>)> {
        let server = usage::memory(self.server.process.pid())?;
        let mut workers = Vec::new();
        for worker in &self.workers {
            workers.push(usage::memory(worker.process.pid())?);
        }
        Ok((server, workers.into_iter().max_by_key(|memory| memory.peak)))
    }

    /// Returns the peak memory so far.
    pub(crate) fn peaks(&self) -> anyhow::Result<Peaks> {
        let (server, worker) = self.memory()?;
        Ok(Peaks {
            server: server.peak,
            worker: worker.map_or(0, |worker| worker.peak),
        })
    }

    /// Stops the processes and drops the database.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_workers().await?;
        self.server.process.terminate().await?;
        self.env.discard(self.sandbox).await
    }
}

/// Detects a load that no longer makes progress.
pub(crate) struct StallDetector {
    left: u64,
    since: Instant,
}

impl StallDetector {
    /// Creates a detector without observations.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: u64::MAX,
            since: now,
        }
    }

    /// Fails if `left` has not changed for a minute.
    pub(crate) fn ensure_progress(&mut self, left: u64, now: Instant) -> anyhow::Result<()> {
        if left != self.left {
            (self.left, self.since) = (left, now);
        }
        ensure!(
            now.duration_since(self.since) < STUCK,
            "no progress for {} s, {left} tasks left",
            STUCK.as_secs()
        );
        Ok(())
    }
}

/// Migrates an empty database without leaving a server running.
pub(crate) async fn migrate(env: &Environment, sandbox: &Sandbox) -> anyhow::Result<()> {
    let mut command = env.program("tasker-server");
    command.args(["migrate", "run"]).envs(variables(env, sandbox));
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the migrations failed: {said}");
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
        // another process may have bound the port since it was found free; other failures are final
        if !process
            .log_end()
            .to_lowercase()
            .contains("address already in use")
        {
            process.ensure_alive()?;
        }
    }
    bail!("{program} found no free port in {PORT_TRIES} attempts")
}

/// Waits until the process is ready; returns false if it ends first.
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
        sleep(START_POLL_INTERVAL).await;
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

/// Returns a loopback address that is free at this moment.
pub(crate) fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a free port")?;
    Ok(listener.local_addr()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_stuck_when_nothing_happens_for_a_minute() {
        let mut now = Instant::now();
        let mut stalls = StallDetector::new(now);
        for left in [9, 8, 8, 7, 7] {
            assert!(stalls.ensure_progress(left, now).is_ok());
            now += STUCK / 2;
        }
        let error = stalls.ensure_progress(7, now).expect_err("stuck").to_string();
        assert_eq!(error, "no progress for 60 s, 7 tasks left");
    }
}
