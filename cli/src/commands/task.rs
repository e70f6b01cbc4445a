//! `tasker task`: submits and inspects tasks.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::value::RawValue;
use tasker_core::task::{TaskId, TaskStatus};
use tasker_wire::{Explanation, Submitted, Task};

use super::totals::{self, TotalsArgs};
use super::values::{JsonArg, parse_duration, parse_time};
use crate::output::{Output, print_line, print_table};
use crate::record::Record;
use tasker_client::Client;

/// Seconds of one `?wait` request: half of the server's maximum, so that a lost connection is noticed
/// earlier.
const WAIT_STEP_SECONDS: &str = "30";

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Submit a task. With --wait, exits 1 unless the task completes.
    Submit(Box<SubmitArgs>),
    /// Show a task.
    Get {
        /// Id of the task.
        id: TaskId,
        /// Wait up to SECONDS for the task to finish.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=60))]
        wait: Option<u32>,
    },
    /// Show why a task is not running.
    Explain {
        /// Id of the task.
        id: TaskId,
    },
    /// Show counts of submitted and finished tasks, by day and by type.
    Totals(TotalsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Registered task type, as in `GET /tasks/types`.
    name: String,
    /// Parameters of the task: JSON, @file, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-", value_parser = JsonArg::parse)]
    params: Option<JsonArg>,
    /// Priority from -100 to 100; higher is more urgent.
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Name or alias of the queue; by default the priority selects it.
    #[arg(long)]
    queue: Option<String>,
    /// Start after this delay: 30s, 5m, 1h30m, or a number of seconds.
    #[arg(long, value_name = "DURATION", conflicts_with = "run_at", value_parser = parse_duration)]
    delay: Option<String>,
    /// Start at this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    run_at: Option<DateTime<Utc>>,
    /// Idempotency key: repeating the request with the same key returns the same task.
    #[arg(long)]
    key: Option<String>,
    /// Number of retries after the first attempt.
    #[arg(long)]
    max_retries: Option<u32>,
    /// Maximum duration of one attempt.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<String>,
    /// Tag of the task; repeat for several.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Wait for the task to finish and show it.
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Serialize)]
struct SubmitBody<'a> {
    task_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
}

pub(crate) async fn run(command: TaskCommand, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        TaskCommand::Submit(args) => submit(*args, client, output).await,
        TaskCommand::Get { id, wait } => {
            let seconds = wait.map(|seconds| seconds.to_string());
            let query: Vec<_> = seconds.iter().map(|seconds| ("wait", seconds.as_str())).collect();
            show(
                &client.get(&["tasks", &id.to_string()], &query).await?,
                client,
                output,
            )?;
            Ok(ExitCode::SUCCESS)
        }
        TaskCommand::Explain { id } => {
            let answer = client.get(&["tasks", &id.to_string(), "explain"], &[]).await?;
            explain(&answer, client, output)?;
            Ok(ExitCode::SUCCESS)
        }
        TaskCommand::Totals(args) => totals::run(args, client, output).await,
    }
}

async fn submit(args: SubmitArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let body = SubmitBody {
        task_name: &args.name,
        parameters: args.params.map(JsonArg::read).transpose()?,
        priority: args.priority,
        queue: args.queue.as_deref(),
        delay: args.delay.as_deref(),
        run_at: args.run_at,
        idempotency_key: args.key.as_deref(),
        max_retries: args.max_retries,
        timeout: args.timeout.as_deref(),
        tags: &args.tags,
    };
    let answer = client.post(&["tasks", "submit"], &body).await?;
    if !args.wait {
        show(&answer, client, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let id = client.read::<Submitted>(&answer)?.task_id.to_string();
    // on timeout `?wait` returns the unfinished task, and the next request continues to wait
    loop {
        let answer = client
            .get(&["tasks", &id], &[("wait", WAIT_STEP_SECONDS)])
            .await?;
        let task: Task = client.read(&answer)?;
        if task.status.is_terminal() {
            show(&answer, client, output)?;
            let completed = task.status == TaskStatus::Completed;
            return Ok(if completed {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
}

fn show(answer: &str, client: &Client, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(print_line(answer)?);
    }
    let rows = client.read::<Record>(answer)?.rows();
    Ok(print_table(&["FIELD", "VALUE"], &rows)?)
}

fn explain(answer: &str, client: &Client, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(print_line(answer)?);
    }
    let explanation: Explanation = client.read(answer)?;
    let mut rows = vec![vec!["status".to_owned(), explanation.status.to_string()]];
    rows.extend(
        explanation
            .reasons
            .into_iter()
            .map(|reason| vec![reason.code, reason.detail]),
    );
    if let Some(seconds) = explanation.estimated_wait_seconds {
        rows.push(vec!["estimated_wait".to_owned(), format!("about {seconds:.0} s")]);
    }
    Ok(print_table(&["CODE", "DETAIL"], &rows)?)
}
