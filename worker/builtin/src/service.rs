//! `service:command`: starts a long-running command from the configuration and supervises it.
//!
//! Its output goes to the log, inside the span of the task. Exit code 0 is success; any other exit is a
//! failure, after which the command is started again while retries are left. If the run ends for another
//! reason (cancelled, timed out, released by a worker that stops), the process group of the command gets
//! SIGTERM and after a grace period SIGKILL. A background task of the worker does so, and the worker waits
//! for it when it stops.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tasker_config::{ServiceCommand, ServiceCommands};
use tasker_core::task::limits;
use tasker_worker::{AnyTaskType, Context, Role, TaskError, TaskType};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, warn};

use crate::child::{self, ChildGroup};

/// Time between SIGTERM and SIGKILL: shorter than the grace period of a cancelled handler.
const GRACE: Duration = Duration::from_secs(4);
/// Time limit for reading the output that was printed before the end.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Maximum number of logged lines a second; further lines are only counted.
const LINES_PER_SECOND: u32 = 200;
/// Number of last lines in the result.
const TAIL_LINES: usize = 20;
/// Maximum number of characters of each of them.
const TAIL_LINE_CHARS: usize = 400;

/// The command to run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// Its name in the configuration (`SERVICE_COMMANDS`).
    name: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Report {
    name: String,
    exit_code: i32,
    seconds: f64,
    /// The last lines of its output.
    last_lines: Vec<String>,
}

/// The output of a command: its last lines and the limit of its log lines.
#[derive(Debug)]
struct Output {
    name: String,
    tail: VecDeque<String>,
    second: Instant,
    logged: u32,
    left_out: u64,
}

pub(super) fn task(commands: ServiceCommands) -> AnyTaskType {
    let commands = Arc::new(commands);
    TaskType::new("service:command", move |context, parameters: Parameters| {
        let commands = Arc::clone(&commands);
        async move {
            let Some(command) = commands.get(&parameters.name) else {
                return Err(TaskError::fail(unknown(&commands)));
            };
            run(&context, parameters.name, command).await
        }
    })
    .description("Runs a command of SERVICE_COMMANDS until it ends, and logs its output")
    .max_retries(5)
    .backoff(Duration::from_secs(2), Duration::from_mins(5))
    .timeout(limits::TIMEOUT)
    .requires(Role::Operator)
    .into()
}

fn unknown(commands: &ServiceCommands) -> String {
    let known: Vec<&str> = commands.keys().map(String::as_str).collect();
    format!(
        "`name` is not a command of SERVICE_COMMANDS; configured commands: {}",
        known.join(", ")
    )
}

async fn run(context: &Context, name: String, command: &ServiceCommand) -> Result<Report, TaskError> {
    let began = Instant::now();
    let group = start(command)?;
    info!(service = name, pid = group.id(), "service started");
    // a failed progress report must not stop the service
    let _ = context.progress(json!({"name": name, "pid": group.id()}));
    let output = Arc::new(Mutex::new(Output::new(name.clone())));
    let stop = CancellationToken::new();
    // stops the command also when this future is dropped (timeout, release), since the supervision runs in
    // its own task
    let _stops = stop.clone().drop_guard();
    let supervised = supervise(group, Arc::clone(&output), stop.clone()).instrument(context.span().clone());
    let supervised = context.tracker().spawn(supervised);
    let stopping = async {
        context.cancelled().cancelled().await;
        stop.cancel();
        std::future::pending::<Infallible>().await
    };
    // a cancelled run still waits for the command, so that it ends before its slot is free
    let ended = tokio::select! {
        ended = supervised => ended?,
        never = stopping => match never {},
    };
    let last_lines = output.lock().unwrap_or_else(PoisonError::into_inner).tail();
    report(name, ended, began.elapsed(), last_lines)
}

fn start(command: &ServiceCommand) -> Result<ChildGroup, TaskError> {
    let mut program = child::command(&command.program);
    program
        .args(&command.arguments)
        .envs(
            command
                .env
                .iter()
                .map(|(name, value)| (name, value.expose_secret())),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(dir) = &command.dir {
        if !dir.is_dir() {
            return Err(TaskError::fail(format!(
                "the folder {} does not exist on this worker",
                dir.display()
            )));
        }
        program.current_dir(dir);
    }
    ChildGroup::spawn(&mut program).map_err(|error| {
        let text = format!("cannot start `{}`: {error}", command.program);
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => TaskError::fail(text),
            _ => TaskError::retry(text),
        }
    })
}

/// Reads the output of the command until it ends; stops it when `stop` is cancelled.
async fn supervise(
    mut group: ChildGroup,
    output: Arc<Mutex<Output>>,
    stop: CancellationToken,
) -> io::Result<ExitStatus> {
    let (stdout, stderr) = group.output();
    let take = |stream: &'static str| {
        let output = Arc::clone(&output);
        move |line: String| {
            output
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(stream, &line);
        }
    };
    let (out, err) = (take("stdout"), take("stderr"));
    let printed = async {
        tokio::join!(
            async {
                if let Some(stdout) = stdout {
                    child::lines(stdout, out).await;
                }
            },
            async {
                if let Some(stderr) = stderr {
                    child::lines(stderr, err).await;
                }
            },
        );
    };
    let ended = async {
        tokio::select! {
            biased;
            ended = group.wait() => return ended,
            () = stop.cancelled() => {}
        }
        group.stop(GRACE).await
    };
    tokio::pin!(printed, ended);
    let (status, all_printed) = tokio::select! {
        status = &mut ended => (status, false),
        () = &mut printed => (ended.await, true),
    };
    if !all_printed {
        // a process that left the group may keep the pipe open for ever
        let _ = tokio::time::timeout(LAST_LINES, printed).await;
    }
    output
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .log_dropped();
    if let Ok(status) = &status {
        info!(%status, "service ended");
    }
    status
}

fn report(
    name: String,
    ended: io::Result<ExitStatus>,
    elapsed: Duration,
    last_lines: Vec<String>,
) -> Result<Report, TaskError> {
    let status = ended?;
    if !status.success() {
        let text = format!("`{name}`: {status}: {}", last_lines.join("\n"));
        return Err(TaskError::retry(text));
    }
    Ok(Report {
        name,
        exit_code: 0,
        seconds: elapsed.as_secs_f64(),
        last_lines,
    })
}

impl Output {
    fn new(name: String) -> Self {
        Self {
            name,
            tail: VecDeque::new(),
            second: Instant::now(),
            logged: 0,
            left_out: 0,
        }
    }

    fn take(&mut self, stream: &'static str, line: &str) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.chars().take(TAIL_LINE_CHARS).collect());
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.log_dropped();
            (self.second, self.logged) = (Instant::now(), 0);
        }
        if self.logged < LINES_PER_SECOND {
            self.logged += 1;
            info!(service = self.name, stream, "{line}");
        } else {
            self.left_out += 1;
        }
    }

    fn log_dropped(&mut self) {
        if self.left_out > 0 {
            warn!(
                service = self.name,
                lines = self.left_out,
                "service log limit reached; lines were dropped"
            );
            self.left_out = 0;
        }
    }

    fn tail(&mut self) -> Vec<String> {
        std::mem::take(&mut self.tail).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_lines_are_logged_in_a_second_and_the_last_ones_kept() {
        let mut output = Output::new("web".to_owned());
        for number in 0..500 {
            output.take("stdout", &format!("{number}{}", "x".repeat(TAIL_LINE_CHARS)));
        }
        assert!(output.logged <= LINES_PER_SECOND && output.left_out >= 100);
        let tail = output.tail();
        assert_eq!(tail.len(), TAIL_LINES);
        assert!(tail[TAIL_LINES - 1].starts_with("499x"));
        assert!(tail.iter().all(|line| line.chars().count() == TAIL_LINE_CHARS));
    }
}
