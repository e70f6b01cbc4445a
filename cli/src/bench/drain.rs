//! Measures the rate at which workers drain a backlog.
//!
//! The backlog must be complete before its first task runs, so the workers' slots are held until
//! then. Submitting with a future `run_at` instead would also measure the promotion of due tasks.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use tasker_wire::Task;

use super::hold::{Blockers, while_held};
use super::stats::Line;
use super::submit::send_batches;
use super::system::{Noop, idle, noops_since, queue, span, task, workers};
use crate::output::progress;
use tasker_client::Client;

const BATCH_TASKS: u64 = 1_000;

/// Drains a backlog of `tasks` `noop`s and returns their rate from the first `started_at` to the
/// last `completed_at`.
pub(crate) async fn drain(client: &Client, noop: &Noop, tasks: u64, most: Duration) -> anyhow::Result<Line> {
    workers(client).await?;
    idle(client, most).await?;
    progress(&format!("drain: {tasks} tasks"));
    let fill = async |blockers: &Blockers| fill(client, blockers, noop, tasks, most).await;
    let (accepted, since) = while_held(client, most, fill).await?;
    // the slots are free now, and the backlog drains
    idle(client, most).await?;
    let records = noops_since(client, since, accepted).await?;
    ensure!(
        records.len() as u64 >= accepted,
        "{accepted} accepted, {} found",
        records.len()
    );
    warn_of_early_starts(&records);
    let elapsed = span(
        records.iter().filter_map(|task| task.started_at),
        records.iter().filter_map(|task| task.completed_at),
    );
    Ok(Line::rate(
        "drain of a backlog",
        accepted,
        elapsed.context("no task finished")?,
    ))
}

/// Submits the backlog. Returns its number of tasks and a time before the first was created.
async fn fill(
    client: &Client,
    blockers: &Blockers,
    noop: &Noop,
    tasks: u64,
    most: Duration,
) -> anyhow::Result<(u64, DateTime<Utc>)> {
    // the blockers were created before the load, on the same clock
    let first = blockers.first().context("the workers have no slots")?;
    let since = task(client, &first.task_id.to_string()).await?.created_at;
    let outcome = send_batches(client, noop, BATCH_TASKS, tasks, most).await?;
    ensure!(
        outcome.accepted > 0,
        "none of {} batches was accepted",
        outcome.refused
    );
    let backlog = queue(client).await?.pending;
    progress(&format!("  {backlog} pending"));
    Ok((outcome.accepted * BATCH_TASKS, since))
}

/// Warns of tasks that started before the last one was submitted, since the backlog was incomplete then.
fn warn_of_early_starts(tasks: &[Task]) {
    let Some(whole) = tasks.iter().map(|task| task.created_at).max() else {
        return;
    };
    let early = tasks
        .iter()
        .filter(|task| task.started_at.is_some_and(|at| at < whole))
        .count();
    if early > 0 {
        progress(&format!(
            "drain: {early} tasks started before the backlog was complete"
        ));
    }
}
