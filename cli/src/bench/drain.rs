//! How fast a backlog is worked off.
//!
//! The backlog must stand whole before the first of it runs, without stopping the workers, whom
//! this program cannot start again. So their slots are first filled with tasks that only wait;
//! the backlog is submitted behind them; then they are cancelled. It waits where work waits, in
//! its list, and takes the ordinary way out of it. Submitting with a `run_at` ahead instead would
//! measure the promotion of due tasks as well.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use tasker_shared::wire::{Submitted, Task};
use tokio::time::{Instant, sleep};

use super::stats::Line;
use super::submit::send_batches;
use super::system::{idle, noops_since, queue, span, submit_batch, task, workers};
use crate::client::{ApiError, Client};
use crate::output::progress;

/// The task whose only work is to wait.
const BLOCKER: &str = "example_long_running";
/// Ends the blockers should this program die before it cancels them.
const BLOCKER_SECONDS: u64 = 300;
/// Slots reserved for other queues stay free, so fewer blockers than slots may run: what has not
/// started after this long will not.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(5);
const BATCH_TASKS: u64 = 1_000;
/// The most tasks in one batch request.
const BATCH_TASKS_MAX: u64 = 10_000;
/// Enough to free all slots at about the same time.
const CANCELS_AT_ONCE: usize = 32;

/// Drains `tasks` `noop`s: tasks by the time from the first `started_at` to the last
/// `completed_at`.
pub(crate) async fn drain(client: &Client, tasks: u64, most: Duration) -> anyhow::Result<Line> {
    let slots: u64 = workers(client)
        .await?
        .iter()
        .filter_map(|worker| u64::try_from(worker.pool_size).ok())
        .sum();
    idle(client, most).await?;
    progress(&format!("drain: holding {slots} slots"));
    let blockers = submit_batch(
        client,
        BLOCKER,
        &json!({"duration": BLOCKER_SECONDS}),
        slots.min(BATCH_TASKS_MAX),
    )
    .await?;
    let filled = fill(client, &blockers, tasks, most).await;
    // Whatever happened, the workers get their slots back.
    progress("drain: letting go");
    let released = cancel(client, &blockers).await;
    let (accepted, since) = filled?;
    released?;
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
        elapsed.context("no task was finished")?,
    ))
}

/// Waits until the blockers hold the slots, then submits the backlog. Answers how many tasks it
/// holds and a moment before the first of them.
async fn fill(
    client: &Client,
    blockers: &[Submitted],
    tasks: u64,
    most: Duration,
) -> anyhow::Result<(u64, chrono::DateTime<chrono::Utc>)> {
    hold(client, blockers.len()).await?;
    let first = blockers.first().context("the server accepted no task")?;
    let since = task(client, &first.task_id.to_string()).await?.created_at;
    let outcome = send_batches(client, BATCH_TASKS, tasks, most).await?;
    ensure!(
        outcome.accepted > 0,
        "none of {} batches was accepted",
        outcome.refused
    );
    let backlog = queue(client).await?.pending;
    progress(&format!("drain: {backlog} pending"));
    Ok((outcome.accepted * BATCH_TASKS, since))
}

async fn hold(client: &Client, blockers: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + BLOCKING_PATIENCE;
    loop {
        let running = usize::try_from(queue(client).await?.running).unwrap_or(0);
        if running >= blockers {
            return Ok(());
        }
        if Instant::now() > deadline {
            ensure!(running > 0, "no worker took one of {blockers} tasks");
            progress(&format!("drain: {running} of {blockers} slots can be held"));
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn cancel(client: &Client, blockers: &[Submitted]) -> anyhow::Result<()> {
    // Those that never started stand before the backlog: from the end, they are out of its way
    // before the first slot is free.
    let cancels = stream::iter(blockers.iter().rev()).map(|blocker| async move {
        let id = blocker.task_id.to_string();
        match client.post(&["tasks", &id, "cancel"], &json!({})).await {
            // It ended by itself, which is as good.
            Err(ApiError::Refused(problem)) if problem.status == 409 => Ok(()),
            answer => answer.map(drop),
        }
    });
    let results: Vec<_> = cancels.buffer_unordered(CANCELS_AT_ONCE).collect().await;
    Ok(results.into_iter().collect::<Result<(), _>>()?)
}

/// A task that began before the last was submitted did not wait in a whole backlog.
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
            "drain: {early} tasks began before the backlog was whole"
        ));
    }
}
