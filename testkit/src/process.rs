//! Child processes of a test, with their logs and signals; they are killed when the test ends.

use std::fs::File;
use std::io::PipeReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::eventually;

/// Time for a process to end after a terminating signal.
const END: Duration = Duration::from_mins(1);

/// A child process that logs to a file. On drop it is killed, and the log is printed if the test panicked.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
    /// The read end of its output pipe, kept open but never read.
    _unread: Option<PipeReader>,
}

impl Process {
    /// Starts `command` with a new log file in `folder`.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}-{}.log", tasker_core::task::TaskId::generate()));
        let file = File::create(&log).expect("the folder takes a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
            ended: None,
            _unread: None,
        }
    }

    /// Starts `command` with stdout and stderr connected to a pipe that is never read, so it has no log.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn start_unread(name: &str, mut command: Command, folder: &Path) -> Self {
        let (unread, output) = std::io::pipe().expect("a pipe");
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a pipe can be shared"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: folder.join("unread"),
            ended: None,
            _unread: Some(unread),
        }
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its output so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the exit status, `None` while it runs.
    ///
    /// # Panics
    /// If the status cannot be read.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Sends a signal by name, such as `TERM`, `STOP` or `CONT`, unless the process has ended.
    ///
    /// # Panics
    /// If `kill` cannot be run.
    pub fn signal(&mut self, signal: &str) {
        if self.ended().is_none() {
            let pid = self.pid().to_string();
            let status = Command::new("kill").args(["-s", signal, &pid]).status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "kill -s {signal} {pid} failed"
            );
        }
    }

    /// Waits for the process to end.
    ///
    /// # Panics
    /// If it does not end within a minute.
    pub async fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, END, async || self.ended().is_some()).await;
        self.ended.expect("it has just ended")
    }

    /// Sends SIGTERM and waits for the process to end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait().await
    }

    /// Sends SIGKILL and waits for the process to end.
    pub async fn kill(&mut self) -> ExitStatus {
        self.signal("KILL");
        self.wait().await
    }
}

impl Drop for Process {
    #[expect(
        clippy::print_stderr,
        reason = "the log of a failed test belongs into its output"
    )]
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {} (pid {})\n{}", self.name, self.pid(), self.log());
        }
    }
}
