//! `tasker bench`: measures a running system.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};

use crate::bench::{self, Bounds, Line, Noop, Slots};
use crate::output::{Output, print_line, print_table};
use tasker_client::Client;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Single submits per second, answered 202 (the task is committed by then). Each connection sends
    /// its next submit after the response to the last. Sleeping tasks hold the slots of live workers
    /// meanwhile; then the workers run the submitted tasks. Without workers the tasks stay pending.
    Submit(SubmitArgs),
    /// Tasks per second submitted in sequential batches over one connection, while the slots of live
    /// workers are held as for `submit`.
    Batch(BatchArgs),
    /// Tasks per second drained from a backlog. Sleeping tasks hold all slots while the backlog is
    /// submitted, then they are cancelled. Measured from the first `started_at` to the last
    /// `completed_at` in the records of the backlog. Needs a queue without other traffic.
    Drain(DrainArgs),
    /// Tasks per second while tasks are submitted and run at the same time, from the first `created_at`
    /// to the last `completed_at` in their records. Needs a queue without other traffic.
    E2e(E2eArgs),
    /// Time from submit to start at a constant rate (p50, p95, p99): from this program's clock before
    /// the request to the record's `started_at`, so both must be on one machine. "submit to end" is
    /// measured to `completed_at`.
    Latency(LatencyArgs),
    /// All of the above with their defaults, one after the other, with an empty queue in between.
    All,
}

/// The size of the tasks of the load.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// Bytes of JSON parameters of each task; fewer than 8 means no parameters.
    #[arg(long, default_value_t = Self::default().parameter_bytes, value_parser = value_parser!(u32).range(0..=100_000))]
    parameter_bytes: u32,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Numbers of connections to measure, one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = Self::default().connections, value_parser = value_parser!(u32).range(1..=4096))]
    connections: Vec<u32>,
    /// Maximum seconds for each number of connections.
    #[arg(long, default_value_t = Self::default().seconds, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Maximum submits for each number of connections.
    #[arg(long, default_value_t = Self::default().tasks, value_parser = value_parser!(u64).range(1..=10_000_000))]
    tasks: u64,
    /// Do not hold the workers' slots: for a target without workers, or whose workers run during the load.
    #[arg(long)]
    no_hold: bool,
    #[command(flatten)]
    task: TaskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// Number of tasks in a batch.
    #[arg(long, default_value_t = Self::default().size, value_parser = value_parser!(u64).range(1..=10_000))]
    size: u64,
    /// Total number of tasks.
    #[arg(long, default_value_t = Self::default().tasks, value_parser = value_parser!(u64).range(1..=10_000_000))]
    tasks: u64,
    /// Maximum seconds.
    #[arg(long, default_value_t = Self::default().seconds, value_parser = value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Do not hold the workers' slots: for a target without workers, or whose workers run during the load.
    #[arg(long)]
    no_hold: bool,
    #[command(flatten)]
    task: TaskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Number of tasks in the backlog, a multiple of 1,000.
    #[arg(long, default_value_t = Self::default().tasks, value_parser = value_parser!(u64).range(1..=10_000_000))]
    tasks: u64,
    /// Maximum seconds for submitting, and again for draining.
    #[arg(long, default_value_t = Self::default().seconds, value_parser = value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    #[command(flatten)]
    task: TaskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct E2eArgs {
    /// Number of connections that submit.
    #[arg(long, default_value_t = Self::default().connections, value_parser = value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// Total number of tasks.
    #[arg(long, default_value_t = Self::default().tasks, value_parser = value_parser!(u64).range(1..=10_000_000))]
    tasks: u64,
    /// Maximum seconds for submitting, and again for finishing.
    #[arg(long, default_value_t = Self::default().seconds, value_parser = value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    #[command(flatten)]
    task: TaskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// Submits per second.
    #[arg(long, default_value_t = Self::default().rate, value_parser = value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Duration in seconds.
    #[arg(long, default_value_t = Self::default().seconds, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    task: TaskArgs,
}

pub(crate) async fn run(command: BenchCommand, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let lines = match command {
        BenchCommand::Submit(args) => submit(client, &args).await?,
        BenchCommand::Batch(args) => vec![batch(client, &args).await?],
        BenchCommand::Drain(args) => vec![drain(client, &args).await?],
        BenchCommand::E2e(args) => vec![e2e(client, &args).await?],
        BenchCommand::Latency(args) => latency(client, &args).await?,
        BenchCommand::All => all(client).await?,
    };
    print(&lines, output)?;
    Ok(ExitCode::SUCCESS)
}

impl Default for TaskArgs {
    fn default() -> Self {
        Self { parameter_bytes: 100 }
    }
}

impl TaskArgs {
    fn noop(&self) -> Noop {
        Noop::new(self.parameter_bytes)
    }
}

impl Default for SubmitArgs {
    fn default() -> Self {
        Self {
            connections: vec![1, 32, 256],
            seconds: 5,
            tasks: 200_000,
            no_hold: false,
            task: TaskArgs::default(),
        }
    }
}

impl Default for BatchArgs {
    fn default() -> Self {
        Self {
            size: 1_000,
            tasks: 50_000,
            seconds: 30,
            no_hold: false,
            task: TaskArgs::default(),
        }
    }
}

impl Default for DrainArgs {
    fn default() -> Self {
        Self {
            tasks: 50_000,
            seconds: 120,
            task: TaskArgs::default(),
        }
    }
}

impl Default for E2eArgs {
    fn default() -> Self {
        Self {
            connections: 64,
            tasks: 50_000,
            seconds: 60,
            task: TaskArgs::default(),
        }
    }
}

impl Default for LatencyArgs {
    fn default() -> Self {
        Self {
            rate: 50,
            seconds: 10,
            task: TaskArgs::default(),
        }
    }
}

async fn submit(client: &Client, args: &SubmitArgs) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for connections in &args.connections {
        let bounds = bounds(*connections, args.tasks, args.seconds);
        lines.push(bench::submit(client, &args.task.noop(), bounds, slots(args.no_hold)).await?);
    }
    Ok(lines)
}

async fn batch(client: &Client, args: &BatchArgs) -> anyhow::Result<Line> {
    let way = (Duration::from_secs(args.seconds), slots(args.no_hold));
    bench::batch(client, &args.task.noop(), args.size, args.tasks, way).await
}

async fn drain(client: &Client, args: &DrainArgs) -> anyhow::Result<Line> {
    let seconds = Duration::from_secs(args.seconds);
    bench::drain(client, &args.task.noop(), args.tasks, seconds).await
}

async fn e2e(client: &Client, args: &E2eArgs) -> anyhow::Result<Line> {
    let bounds = bounds(args.connections, args.tasks, args.seconds);
    bench::e2e(client, &args.task.noop(), bounds).await
}

async fn latency(client: &Client, args: &LatencyArgs) -> anyhow::Result<Vec<Line>> {
    let seconds = Duration::from_secs(args.seconds);
    bench::latency(client, &args.task.noop(), args.rate, seconds).await
}

fn bounds(connections: u32, requests: u64, seconds: u64) -> Bounds {
    Bounds {
        connections,
        requests,
        duration: Duration::from_secs(seconds),
    }
}

fn slots(no_hold: bool) -> Slots {
    if no_hold { Slots::LeftAlone } else { Slots::Held }
}

async fn all(client: &Client) -> anyhow::Result<Vec<Line>> {
    let mut lines = latency(client, &LatencyArgs::default()).await?;
    lines.extend(submit(client, &SubmitArgs::default()).await?);
    lines.push(batch(client, &BatchArgs::default()).await?);
    lines.push(drain(client, &DrainArgs::default()).await?);
    lines.push(e2e(client, &E2eArgs::default()).await?);
    Ok(lines)
}

fn print(lines: &[Line], output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(print_line(&serde_json::to_string(lines)?)?);
    }
    let rows: Vec<_> = lines.iter().map(row).collect();
    Ok(print_table(
        &[
            "MEASURED", "VALUE", "UNIT", "TASKS", "SECONDS", "REFUSED", "P50 MS", "P99 MS",
        ],
        &rows,
    )?)
}

fn row(line: &Line) -> Vec<String> {
    let decimals = if line.value < 100.0 { 2 } else { 0 };
    let millis = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
    vec![
        line.name.clone(),
        format!("{:.decimals$}", line.value),
        line.unit.to_owned(),
        line.tasks.to_string(),
        format!("{:.2}", line.seconds),
        line.refused.to_string(),
        millis(line.p50_ms),
        millis(line.p99_ms),
    ]
}
