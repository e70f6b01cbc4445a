//! Holding the workers' slots, so that nothing of the load is run while it is submitted.
//!
//! This program cannot stop the workers, and could not start them again. So their slots are filled
//! with tasks that only wait; when those are cancelled, work goes on. What was submitted meanwhile
//! waits where work waits, in its list, and takes the ordinary way out of it.

use std::time::Duration;

use anyhow::ensure;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use tasker_shared::wire::Submitted;
use tokio::time::{Instant, sleep};

use super::system::{live_workers, queue, submit_batch};
use crate::client::{ApiError, Client};
use crate::output::progress;

/// The task whose only work is to wait.
const BLOCKER: &str = "example_long_running";
/// How much longer than the load the blockers last: they end by themselves should this program die
/// before it cancels them.
const BLOCKER_MARGIN: Duration = Duration::from_mins(2);
/// Slots reserved for other queues stay free, so fewer blockers than slots may run: what has not
/// started after this long will not.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(5);
/// The most tasks in one batch request.
const BATCH_TASKS_MAX: u64 = 10_000;
/// Enough to free all slots at about the same time.
const CANCELS_AT_ONCE: usize = 32;

/// The tasks that hold the slots; none where no worker serves the load's queue.
#[derive(Debug)]
pub(super) struct Held {
    blockers: Vec<Submitted>,
}

impl Held {
    /// The first task that was submitted to hold a slot.
    pub(super) fn first(&self) -> Option<&Submitted> {
        self.blockers.first()
    }
}

/// Runs `load`, which takes `most` at the longest, while all slots are held; whatever comes of it,
/// the workers get them back. The queue must be idle before.
pub(super) async fn while_held<T>(
    client: &Client,
    most: Duration,
    load: impl AsyncFnOnce(&Held) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let held = submit_blockers(client, most + BLOCKER_MARGIN).await?;
    let done = async {
        fill(client, &held).await?;
        load(&held).await
    };
    let done = done.await;
    let released = release(client, &held).await;
    let done = done?;
    released?;
    Ok(done)
}

async fn submit_blockers(client: &Client, lasting: Duration) -> anyhow::Result<Held> {
    let workers = live_workers(client).await?;
    let slots: u64 = workers
        .iter()
        .filter_map(|worker| u64::try_from(worker.pool_size).ok())
        .sum();
    if slots == 0 {
        let blockers = Vec::new();
        return Ok(Held { blockers });
    }
    progress(&format!("  holding {slots} slots"));
    let seconds = lasting.as_secs();
    let blocker = json!({
        "task_name": BLOCKER,
        "parameters": {"duration": seconds},
        "timeout": seconds + 1,
        "max_retries": 0,
    });
    let blockers = submit_batch(client, &blocker, slots.min(BATCH_TASKS_MAX)).await?;
    Ok(Held { blockers })
}

/// Waits until the blockers run.
async fn fill(client: &Client, held: &Held) -> anyhow::Result<()> {
    let blockers = held.blockers.len();
    let deadline = Instant::now() + BLOCKING_PATIENCE;
    loop {
        let running = usize::try_from(queue(client).await?.running).unwrap_or(0);
        if running >= blockers {
            return Ok(());
        }
        if Instant::now() > deadline {
            ensure!(running > 0, "no worker took one of {blockers} tasks");
            progress(&format!("  {running} of {blockers} slots can be held"));
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn release(client: &Client, held: &Held) -> anyhow::Result<()> {
    if !held.blockers.is_empty() {
        progress("  letting go");
    }
    // Those that never started stand before the load: from the end, they are out of its way before
    // the first slot is free.
    let cancels = stream::iter(held.blockers.iter().rev()).map(|blocker| async move {
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
