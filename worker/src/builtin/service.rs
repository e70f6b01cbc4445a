//! `service:command`: starts a long-lived command that the configuration names, and watches it.
//!
//! Its lines go to the log, inside the span of the task. Exit code 0 is success, everything else a failure, after which
//! it is started again while retries are left. When its run ends for any other reason (cancelled, timed out, given back
//! by a worker that stops) the command gets SIGTERM and, if it does not heed it, SIGKILL, with all that it started. A
//! task of the worker sees to that, and the worker waits for it when it stops.

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
use tasker_shared::config::{ServiceCommand, ServiceCommands};
use tasker_shared::task::limits;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, warn};

use super::child::{self, ChildGroup};
use crate::{Context, TaskError, TaskType};

/// How long a command may take to heed SIGTERM: shorter than what a cancelled handler is given.
const GRACE: Duration = Duration::from_secs(4);
/// How long lines that were printed before the end may take to come.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Most lines in the log in a second; others are counted.
const LINES_PER_SECOND: u32 = 200;
/// Last lines that are kept for the result.
const TAIL_LINES: usize = 20;
/// Most characters of each of them.
const TAIL_LINE_CHARS: usize = 400;

/// Which command to run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// Its name in the configuration (`SERVICE_COMMANDS`).
    name: String,
}

#[derive(Debug, Serialize)]
struct Report {
    name: String,
    exit_code: i32,
    seconds: f64,
    /// The last lines that it printed.
    last_lines: Vec<String>,
}

/// What a command printed.
#[derive(Debug)]
struct Output {
    name: String,
    tail: VecDeque<String>,
    second: Instant,
    logged: u32,
    left_out: u64,
}

pub(super) fn task(commands: ServiceCommands) -> TaskType {
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
    .description("Runs a command that SERVICE_COMMANDS names until it ends, and logs what it prints")
    .max_retries(5)
    .backoff(Duration::from_secs(2), Duration::from_mins(5))
    .timeout(limits::TIMEOUT)
}

fn unknown(commands: &ServiceCommands) -> String {
    let known: Vec<&str> = commands.keys().map(String::as_str).collect();
    format!("SERVICE_COMMANDS names no such command, but {}", known.join(", "))
}

async fn run(context: &Context, name: String, command: &ServiceCommand) -> Result<Report, TaskError> {
    let began = Instant::now();
    let group = start(command)?;
    info!(service = name, pid = group.id(), "the service has started");
    // progress is a courtesy: a report that fails stops nothing
    let _ = context.progress(json!({"name": name, "pid": group.id()}));
    let output = Arc::new(Mutex::new(Output::new(name.clone())));
    let stop = CancellationToken::new();
    // dropped with this handler, whatever ended it
    let _stops = stop.clone().drop_guard();
    let watched = watch(group, Arc::clone(&output), stop.clone()).instrument(context.span().clone());
    let watched = context.tracker().spawn(watched);
    let stopping = async {
        context.cancelled().cancelled().await;
        stop.cancel();
        std::future::pending::<Infallible>().await
    };
    // cancelled, it ends when the command has ended
    let ended = tokio::select! {
        ended = watched => ended?,
        never = stopping => match never {},
    };
    let last_lines = output.lock().unwrap_or_else(PoisonError::into_inner).tail();
    judge(name, ended, began.elapsed(), last_lines)
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
                "there is no folder {} here",
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

/// Takes what the command prints until it ends, or `stop` asks for its end.
async fn watch(
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
        // a program that left its group may hold the pipe open for ever
        let _ = tokio::time::timeout(LAST_LINES, printed).await;
    }
    output
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .tell_left_out();
    if let Ok(status) = &status {
        info!(%status, "the service has ended");
    }
    status
}

fn judge(
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
            self.tell_left_out();
            (self.second, self.logged) = (Instant::now(), 0);
        }
        if self.logged < LINES_PER_SECOND {
            self.logged += 1;
            info!(service = self.name, stream, "{line}");
        } else {
            self.left_out += 1;
        }
    }

    fn tell_left_out(&mut self) {
        if self.left_out > 0 {
            warn!(
                service = self.name,
                lines = self.left_out,
                "the service prints too much: lines were left out"
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
