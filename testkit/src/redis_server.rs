use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::queue::connect;
use crate::{Process, eventually, free_port};

/// How long a Redis may take to answer after its start.
const START: Duration = Duration::from_secs(20);

/// A Redis of the test's own, on a loopback port, without persistence: it may be stopped, paused and started again.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    process: Process,
    folder: TempDir,
}

impl RedisServer {
    /// Starts `redis-server` and waits until it answers.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let port = free_port();
        let process = Process::start("redis-server", command(port, &folder), folder.path());
        let server = Self {
            port,
            process,
            folder,
        };
        server.answers().await;
        server
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process, for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it, with all that it holds.
    pub async fn stop(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again, empty, on the same port, and waits until it answers.
    pub async fn restart(&mut self) {
        self.process.kill().await;
        self.process = Process::start(
            "redis-server",
            command(self.port, &self.folder),
            self.folder.path(),
        );
        self.answers().await;
    }

    async fn answers(&self) {
        let ping = || {
            connect(&self.url())
                .and_then(|mut connection| deadpool_redis::redis::cmd("PING").exec(&mut connection))
        };
        eventually("the private Redis answers", START, async || ping().is_ok()).await;
    }
}

fn command(port: u16, folder: &TempDir) -> Command {
    let mut command = Command::new("redis-server");
    command
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
        ])
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder.path());
    command
}
