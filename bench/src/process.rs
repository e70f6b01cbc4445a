//! Child processes of a scenario, with their logs; they end with the scenario even if it fails.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::time::sleep;

/// Time for a process to end after SIGTERM: longer than the shutdown timeout of a worker.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// Time for a process to end after SIGTERM when its handle is dropped; then it is killed.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Number of log lines in an error.
const LOG_LINES: usize = 12;

/// A child process that logs to a file; on drop it gets SIGTERM, then SIGKILL.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with stdout and stderr written to `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", Path::new(command.get_program()).display()))?;
        let name = name.to_owned();
        Ok(Self { name, child, log })
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status, `None` while the process runs.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Fails with the end of the log if the process has ended.
    pub(crate) fn ensure_alive(&mut self) -> anyhow::Result<()> {
        let ended = self.ended()?;
        ensure!(
            ended.is_none(),
            "{} has ended; the end of its log:\n{}",
            self.name,
            self.log_end()
        );
        Ok(())
    }

    /// Returns the last lines of the log.
    pub(crate) fn log_end(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Sends SIGTERM and waits for the process to end.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<()> {
        self.signal("TERM");
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.ended()?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "{} did not end within {} s",
                self.name,
                STOP_TIMEOUT.as_secs()
            );
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        // failure is ignored: the process may have ended already, and one that ignores the signal is killed
        // on drop
        let _ = Command::new("kill")
            .args(["-s", signal, &pid])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.ended(), Ok(None)) {
            return;
        }
        self.signal("TERM");
        let deadline = Instant::now() + DROP_TIMEOUT;
        while matches!(self.ended(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("the script", command, folder.join("log")).expect("a shell")
    }

    #[tokio::test]
    async fn a_process_that_ended_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = shell("echo address already in use >&2", folder.path());
        while process.ended().expect("a status").is_none() {
            sleep(POLL_INTERVAL).await;
        }
        let error = process.ensure_alive().expect_err("it has ended").to_string();
        assert!(
            error.contains("the script has ended") && error.ends_with("address already in use"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_process_ends_when_asked_and_when_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        shell("sleep 60", folder.path())
            .terminate()
            .await
            .expect("it ends");
        let process = shell("sleep 60", folder.path());
        let proc = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }

    #[test]
    fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let started = Process::start("x", Command::new("/no/such/program"), folder.path().join("log"));
        let error = started.expect_err("there is none").to_string();
        assert_eq!(error, "cannot start /no/such/program");
    }
}
