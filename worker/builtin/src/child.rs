//! Child processes of tasks: each runs in its own process group, which is killed with its task, and without
//! the environment of this process, which holds secrets.

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// The variables of this process that are passed on to a program.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"];
/// Maximum number of bytes of a line; the rest of the line is dropped.
const LINE_BYTES: usize = 8 * 1024;

/// Returns a command with a minimal environment and without input or output.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A running program with its process group.
#[derive(Debug)]
pub(super) struct ChildGroup {
    child: Child,
    /// `None` once the program has ended and the rest of its group was killed: the id may then belong to
    /// another group.
    group: Option<Pid>,
}

impl ChildGroup {
    /// Starts the program of `command`.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, group })
    }

    /// Returns the process id; `None` after the program has ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns the piped outputs of the program. They can be taken once.
    pub(super) fn output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits until the program ends, and kills the rest of its group.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.kill();
        self.group = None;
        Ok(status)
    }

    /// Sends SIGTERM to the group, and kills it if the program has not ended within `grace`.
    pub(super) async fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        if let Ok(ended) = tokio::time::timeout(grace, self.wait()).await {
            return ended;
        }
        self.kill();
        self.wait().await
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // fails if no process is left in the group
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for ChildGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Passes the output of a program to `take`, line by line, until the program closes it.
pub(super) async fn lines(stream: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // a read error counts as the end of the output
    while let Ok(chunk) = reader.fill_buf().await
        && !chunk.is_empty()
    {
        let read = chunk.len();
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let space = LINE_BYTES - line.len();
            line.extend_from_slice(text.get(..space).unwrap_or(text));
            if text.len() < part.len() {
                take(printable(&line));
                line.clear();
            }
        }
        reader.consume(read);
    }
    if !line.is_empty() {
        take(printable(&line));
    }
}

/// Returns the line as text without control characters, which could break a log line or a row.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\r');
    text.chars()
        .map(|sign| {
            if sign.is_control() && sign != '\t' {
                '\u{fffd}'
            } else {
                sign
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    async fn printed(text: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        lines(text, |line| all.push(line)).await;
        all
    }

    #[tokio::test]
    async fn lines_are_cut_where_they_are_too_long_and_what_is_not_text_is_replaced() {
        assert_eq!(
            printed(b"a\r\n\nb\x1b[2J\xff").await,
            ["a", "", "b\u{fffd}[2J\u{fffd}"]
        );
        let long = [vec![b'x'; 3 * LINE_BYTES], b"\nshort".to_vec()].concat();
        let lines = printed(&long).await;
        assert_eq!(
            (lines.len(), lines[0].len(), lines[1].as_str()),
            (2, LINE_BYTES, "short")
        );
    }

    /// A shell that starts another program, prints its id and waits for it.
    fn parent(trap: &str) -> Command {
        let mut shell = command("sh");
        shell
            .arg("-c")
            .arg(format!("{trap} sleep 600 & echo $!; wait; wait"))
            .stdout(Stdio::piped());
        shell
    }

    async fn first_line(group: &mut ChildGroup) -> String {
        let (stdout, _) = group.output();
        let mut lines = BufReader::new(stdout.expect("piped")).lines();
        lines.next_line().await.expect("readable").expect("a line")
    }

    fn lives(process: &str) -> bool {
        // a dead process whose parent has not waited for it is a zombie
        let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }

    async fn gone(process: &str) {
        let deadline = std::time::Instant::now() + SOON;
        while lives(process) {
            assert!(std::time::Instant::now() < deadline, "{process} still lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_group_that_is_dropped_is_killed_as_a_whole() {
        let mut group = ChildGroup::spawn(&mut parent("")).expect("started");
        let grandchild = first_line(&mut group).await;
        assert!(lives(&grandchild));
        drop(group);
        gone(&grandchild).await;
    }

    #[tokio::test]
    async fn a_program_that_handles_sigterm_ends_by_itself_and_one_that_does_not_is_killed() {
        let mut group = ChildGroup::spawn(&mut parent("trap 'exit 7' TERM;")).expect("started");
        let grandchild = first_line(&mut group).await;
        let status = group.stop(SOON).await.expect("ended");
        assert_eq!(status.code(), Some(7));
        gone(&grandchild).await;

        let mut group = ChildGroup::spawn(&mut parent("trap '' TERM;")).expect("started");
        let grandchild = first_line(&mut group).await;
        let status = group.stop(Duration::from_millis(200)).await.expect("ended");
        assert_eq!(status.code(), None, "killed");
        gone(&grandchild).await;
    }

    #[tokio::test]
    async fn a_program_does_not_see_the_variables_of_this_process() {
        let mut env = command("env");
        let output = env.stdout(Stdio::piped()).output().await.expect("ran");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            std::env::var_os("CARGO").is_some() && !text.contains("CARGO"),
            "{text}"
        );
    }
}
