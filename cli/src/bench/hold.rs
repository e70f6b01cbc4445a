//! Fills the workers' slots with sleeping tasks, so that no task of the load runs while it is submitted.
//!
//! This program can neither stop nor start workers. Cancelling the sleeping tasks frees the slots;
//! the load has waited in its queue as usual, so it is claimed and run as in production.

use std::time::Duration;

use anyhow::ensure;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use tasker_wire::Submitted;
use tokio::time::{Instant, sleep};

use super::system::{live_workers, queue, submit_batch};
use crate::output::progress;
use tasker_client::{Client, ClientError};

/// A built-in task type that only sleeps.
const BLOCKER: &str = "example_long_running";
/// Time that the blockers sleep beyond the load: they end by themselves if this program dies before
/// it cancels them.
const BLOCKER_MARGIN: Duration = Duration::from_mins(2);
/// Time for blockers to start. Slots reserved for other queues stay free, so fewer blockers than
/// slots may run; those that have not started by then will not.
const BLOCKING_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of tasks in one batch request.
const BATCH_TASKS_MAX: u64 = 10_000;
/// Number of concurrent cancel requests, enough to free all slots at about the same time.
const CANCELS_AT_ONCE: usize = 32;

/// The sleeping tasks that occupy the slots; empty if no worker serves the load's queue.
#[derive(Debug)]
pub(super) struct Blockers {
    tasks: Vec<Submitted>,
}

impl Blockers {
    /// Returns the first blocker that was submitted.
    pub(super) fn first(&self) -> Option<&Submitted> {
        self.tasks.first()
    }
}

/// Runs `load`, which takes at most `most`, while all slots are occupied, and frees the slots even if
/// it fails. The queue must be idle before.
pub(super) async fn while_held<T>(
    client: &Client,
    most: Duration,
    load: impl AsyncFnOnce(&Blockers) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let blockers = submit_blockers(client, most + BLOCKER_MARGIN).await?;
    let done = async {
        fill(client, &blockers).await?;
        load(&blockers).await
    };
    // not `?` yet: after a failed load the slots must be freed as well
    let done = done.await;
    let released = release(client, &blockers).await;
    let done = done?;
    released?;
    Ok(done)
}

async fn submit_blockers(client: &Client, lasting: Duration) -> anyhow::Result<Blockers> {
    let workers = live_workers(client).await?;
    let slots: u64 = workers
        .iter()
        .filter_map(|worker| u64::try_from(worker.pool_size).ok())
        .sum();
    if slots == 0 {
        let tasks = Vec::new();
        return Ok(Blockers { tasks });
    }
    progress(&format!("  holding {slots} slots"));
    let seconds = lasting.as_secs();
    // the timeout is longer than the task, so that a forgotten blocker completes instead of failing
    let blocker = json!({
        "task_name": BLOCKER,
        "parameters": {"duration": seconds},
        "timeout": seconds + 1,
        "max_retries": 0,
    });
    let tasks = submit_batch(client, &blocker, slots.min(BATCH_TASKS_MAX)).await?;
    Ok(Blockers { tasks })
}

/// Waits until the blockers run.
async fn fill(client: &Client, blockers: &Blockers) -> anyhow::Result<()> {
    let blockers = blockers.tasks.len();
    let deadline = Instant::now() + BLOCKING_TIMEOUT;
    loop {
        // only blockers can be running, since the queue was idle
        let running = usize::try_from(queue(client).await?.running).unwrap_or(0);
        if running >= blockers {
            return Ok(());
        }
        if Instant::now() > deadline {
            ensure!(running > 0, "no worker claimed any of {blockers} blocking tasks");
            progress(&format!("  {running} of {blockers} slots can be held"));
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn release(client: &Client, blockers: &Blockers) -> anyhow::Result<()> {
    if !blockers.tasks.is_empty() {
        progress("  releasing the slots");
    }
    // blockers that never started are ahead of the load in the queue: cancelling from the end removes
    // them before the first slot becomes free
    let cancels = stream::iter(blockers.tasks.iter().rev()).map(|blocker| async move {
        let id = blocker.task_id.to_string();
        match client.post(&["tasks", &id, "cancel"], &json!({})).await {
            // 409: it had already finished, so its slot is free
            Err(ClientError::Rejected(problem)) if problem.status == 409 => Ok(()),
            answer => answer.map(drop),
        }
    });
    let results: Vec<_> = cancels.buffer_unordered(CANCELS_AT_ONCE).collect().await;
    Ok(results.into_iter().collect::<Result<(), _>>()?)
}
