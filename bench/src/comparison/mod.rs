//! The comparison: a common Python stack of `FastAPI`, RQ and one row per task in Postgres. Its files are in
//! `bench/rq`.
//!
//! Load driver and clock are those of the other scenarios. Backlogs are small, so that each drains in half a
//! minute.

mod stack;
mod venv;

use anyhow::Context as _;

use crate::arguments::Scenario;
use crate::driver;
use crate::environment::Environment;
use crate::figures::Figure;
use crate::progress::progress;
use crate::rows::{self, Done};
use stack::{Stack, WorkerClass};

const SUBMIT_CONNECTIONS: u32 = 32;
const SUBMIT_SECONDS: u64 = 5;
/// No limit in practice: the time ends the load.
const SUBMIT_TASKS_MAX: u64 = 10_000_000;
const END_TO_END_CONNECTIONS: u32 = 64;
const END_TO_END_TASKS: u64 = 4_000;
/// No limit in practice: the number of tasks ends the load.
const SECONDS_MAX: u64 = 600;

/// Measures submits, a backlog with each class of worker, and both at the same time.
pub(crate) async fn rq(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    venv::ensure(&env.arguments.venv).await?;
    let mut figures = submit(env).await?;
    for (class, tasks) in [(WorkerClass::Forking, 1_000), (WorkerClass::Simple, 4_000)] {
        figures.push(drain(env, class, tasks.min(env.arguments.tasks)).await?);
    }
    figures.push(end_to_end(env, END_TO_END_TASKS.min(env.arguments.tasks)).await?);
    Ok(figures)
}

fn rate(name: impl Into<String>, value: f64) -> Figure {
    Figure::new(Scenario::Rq, name, value, "tasks/s")
}

async fn submit(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    progress("  submits");
    let stack = Stack::start(env).await?;
    let connections = [SUBMIT_CONNECTIONS];
    let measured = driver::submit(env, &stack.url, &connections, SUBMIT_SECONDS, SUBMIT_TASKS_MAX).await?;
    let measured = measured.first().context("tasker bench returned no results")?;
    let found = stack.open_tasks().await?;
    let accepted = measured.tasks;
    anyhow::ensure!(
        found == accepted,
        "{accepted} tasks were accepted, {found} found in Postgres"
    );
    stack.stop().await?;
    let name = format!("submit, {SUBMIT_CONNECTIONS} connections");
    let percentiles = [("p50", measured.p50_ms), ("p99", measured.p99_ms)];
    let percentile = |(percent, ms): (&str, Option<f64>)| {
        Some(Figure::new(Scenario::Rq, format!("{name}, {percent}"), ms?, "ms"))
    };
    let mut figures = vec![rate(&name, measured.value)];
    figures.extend(percentiles.into_iter().filter_map(percentile));
    Ok(figures)
}

async fn drain(env: &Environment, class: WorkerClass, tasks: u64) -> anyhow::Result<Figure> {
    progress(&format!("  drain of {tasks}, {}", class.name()));
    let mut stack = Stack::start(env).await?;
    let done = load(env, &mut stack, SUBMIT_CONNECTIONS, tasks, Some(class)).await?;
    stack.stop().await?;
    Ok(rate(format!("drain, {}", class.name()), done.drain_rate()?))
}

async fn end_to_end(env: &Environment, tasks: u64) -> anyhow::Result<Figure> {
    let class = WorkerClass::Simple;
    progress(&format!("  end to end, {tasks} tasks, {}", class.name()));
    let mut stack = Stack::start(env).await?;
    stack.add_workers(class)?;
    let done = load(env, &mut stack, END_TO_END_CONNECTIONS, tasks, None).await?;
    stack.stop().await?;
    let name = format!(
        "end to end, {END_TO_END_CONNECTIONS} connections, {}",
        class.name()
    );
    Ok(rate(name, done.end_to_end_rate()?))
}

/// Submits `tasks`, then starts `workers` if there are any to start, and waits until all tasks are completed.
async fn load(
    env: &Environment,
    stack: &mut Stack<'_>,
    connections: u32,
    tasks: u64,
    workers: Option<WorkerClass>,
) -> anyhow::Result<Done> {
    let since = rows::now(stack.pool()).await?;
    let measured = driver::submit(env, &stack.url, &[connections], SECONDS_MAX, tasks).await?;
    let accepted = measured
        .first()
        .context("tasker bench returned no results")?
        .tasks;
    let until = rows::now(stack.pool()).await?;
    if let Some(class) = workers {
        stack.add_workers(class)?;
    }
    stack.until_idle().await?;
    Done::of_comparison(stack.pool(), (since, until), accepted).await
}
