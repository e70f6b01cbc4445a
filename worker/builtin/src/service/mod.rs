//! `service:command` and `service:NAME`: start a long-running command of the configuration and supervise it.
//!
//! `service:command` takes the name of the command. Each command also has a type of its own, `service:NAME`,
//! whose tasks may set the working directory and the port where the configuration allows it. No shell reads
//! any of it.
//!
//! Its output goes to the log, inside the span of the task. Exit code 0 is success; any other exit is a
//! failure, after which the command is started again while retries are left. If the run ends for another
//! reason (cancelled, timed out, released by a worker that stops), the process group of the command gets
//! SIGTERM and after a grace period SIGKILL. A background task of the worker does so, and the worker waits
//! for it when it stops.

mod output;
mod place;

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
use tracing::{Instrument as _, info};

use crate::child::{self, ChildGroup};
use output::Output;
use place::{Place, Wanted};

/// Time between SIGTERM and SIGKILL: shorter than the grace period of a cancelled handler.
const GRACE: Duration = Duration::from_secs(4);
/// Time limit for reading the output that was printed before the end.
const LAST_LINES: Duration = Duration::from_secs(1);

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
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    exit_code: i32,
    seconds: f64,
    /// The last lines of its output.
    last_lines: Vec<String>,
}

/// Returns `service:command` and a type for each command; no types if there are no commands.
pub(super) fn tasks(commands: ServiceCommands) -> Vec<AnyTaskType> {
    if commands.is_empty() {
        return Vec::new();
    }
    let commands = Arc::new(commands);
    let named = commands
        .iter()
        .map(|(name, command)| named(name.clone(), Arc::new(command.clone())));
    let mut tasks: Vec<AnyTaskType> = named.collect();
    tasks.push(by_name(commands));
    tasks
}

fn by_name(commands: Arc<ServiceCommands>) -> AnyTaskType {
    let task = TaskType::new("service:command", move |context, parameters: Parameters| {
        let commands = Arc::clone(&commands);
        async move {
            let Some(command) = commands.get(&parameters.name) else {
                return Err(TaskError::fail(unknown(&commands)));
            };
            run(&context, parameters.name, command, Wanted::default()).await
        }
    });
    supervised(task)
        .description("Runs a command of SERVICE_COMMANDS until it ends, and logs its output")
        .into()
}

fn named(name: String, command: Arc<ServiceCommand>) -> AnyTaskType {
    let schema = place::schema(&command);
    let description =
        format!("Runs the command `{name}` of SERVICE_COMMANDS until it ends, and logs its output");
    let task = TaskType::new(format!("service:{name}"), move |context, wanted: Wanted| {
        let (name, command) = (name.clone(), Arc::clone(&command));
        async move { run(&context, name, &command, wanted).await }
    });
    supervised(task)
        .parameters_schema(&schema)
        .description(description)
        .into()
}

/// Sets what all types of services have in common.
fn supervised<P, R>(task: TaskType<P, R>) -> TaskType<P, R> {
    task.max_retries(5)
        .backoff(Duration::from_secs(2), Duration::from_mins(5))
        .timeout(limits::TIMEOUT)
        .requires(Role::Operator)
}

fn unknown(commands: &ServiceCommands) -> String {
    let known: Vec<&str> = commands.keys().map(String::as_str).collect();
    format!(
        "`name` is not a command of SERVICE_COMMANDS; configured commands: {}",
        known.join(", ")
    )
}

async fn run(
    context: &Context,
    name: String,
    command: &ServiceCommand,
    wanted: Wanted,
) -> Result<Report, TaskError> {
    let began = Instant::now();
    let place = place::of(&name, command, wanted).await?;
    let group = start(command, &place)?;
    let port = place.port;
    info!(service = name, pid = group.id(), port, "service started");
    // a failed progress report must not stop the service
    let _ = context.progress(json!({"name": name, "pid": group.id(), "port": port}));
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
    let report = Report {
        name,
        port,
        exit_code: 0,
        seconds: began.elapsed().as_secs_f64(),
        last_lines,
    };
    check_exit(ended?, report)
}

fn start(command: &ServiceCommand, place: &Place) -> Result<ChildGroup, TaskError> {
    let mut program = child::command(&command.program);
    let env = command.env.iter();
    program
        .args(place.arguments(&command.arguments))
        .envs(env.map(|(name, value)| (name, value.expose_secret())))
        .envs(place.port.map(|port| ("PORT", port.to_string())))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(dir) = &place.dir {
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

fn check_exit(status: ExitStatus, report: Report) -> Result<Report, TaskError> {
    if status.success() {
        return Ok(report);
    }
    let lines = report.last_lines.join("\n");
    Err(TaskError::retry(format!("`{}`: {status}: {lines}", report.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_type_of_its_own_beside_service_command() {
        let commands = ServiceCommands::from([
            ("nextjs".to_owned(), ServiceCommand::new("npm")),
            ("notion-clone".to_owned(), ServiceCommand::new("npm")),
        ]);
        let tasks = tasks(commands);
        let names: Vec<&str> = tasks.iter().map(AnyTaskType::name).collect();
        assert_eq!(
            names,
            ["service:nextjs", "service:notion-clone", "service:command"]
        );
        assert!(
            tasks
                .iter()
                .all(|task| task.required_role() == Some(Role::Operator))
        );
        assert!(super::tasks(ServiceCommands::new()).is_empty());
    }
}
