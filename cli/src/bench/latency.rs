//! Measures the time from a submit to the start of its task.
//!
//! Open loop: each submit is sent when it is due, even if earlier ones have no response yet, so that
//! a slow response does not hide the delay of the following submits. `started_at` comes from
//! Postgres's clock and the time of the submit from this program's, so both must run on one machine.
//! `started_at` is the begin of the claim; since the handler starts a little later, the time to
//! `completed_at` is reported as well.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::try_join_all;
use tasker_core::task::TaskId;
use tasker_wire::Submitted;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::http::{self, Connection};
use super::stats::{Line, percentiles};
use super::system::{Noop, idle, noops_since, task, workers};
use crate::output::progress;
use tasker_client::Client;

/// Maximum number of concurrent submits, more than ordinary latencies need; others wait for a connection.
const CONNECTIONS: u32 = 64;
/// Number of submits before the measurement, which fill connection pools and plan caches.
const WARM_UP_SUBMITS: u32 = 20;
/// Time for the last tasks to finish.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum time by which `started_at` may precede the submit. A fallback poll also claims tasks that were
/// committed after its transaction began (`started_at`) but before its snapshot was taken.
const CLAIM_BEGAN_BEFORE: TimeDelta = TimeDelta::milliseconds(100);

/// A submit and the id of its task.
struct Sample {
    sent_at: DateTime<Utc>,
    id: TaskId,
}

/// Sends `rate` submits per second for `duration` and returns the percentiles of their delays.
pub(crate) async fn latency(
    client: &Client,
    noop: &Noop,
    rate: u32,
    duration: Duration,
) -> anyhow::Result<Vec<Line>> {
    workers(client).await?;
    idle(client, DRAIN_TIMEOUT).await?;
    let sender = Sender::open(client, noop).await?;
    progress(&format!("latency: {rate}/s for {} s", duration.as_secs()));
    let interval = Duration::from_secs(1) / rate;
    let warm_up = sender.send(WARM_UP_SUBMITS, interval).await?;
    let start = Instant::now();
    let count = rate.saturating_mul(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX));
    let samples = sender.send(count, interval).await?;
    let elapsed = start.elapsed();
    idle(client, DRAIN_TIMEOUT).await?;
    let times = times(client, &warm_up, samples.len()).await?;
    let mut starts = Vec::new();
    let mut ends = Vec::new();
    for sample in &samples {
        let (started_at, completed_at) = times.get(&sample.id).copied().unwrap_or_default();
        starts.push(since(sample, started_at)?);
        ends.push(since(sample, completed_at)?);
    }
    let mut lines = percentiles("submit to start", starts, elapsed);
    lines.extend(percentiles("submit to end", ends, elapsed));
    Ok(lines)
}

/// Returns start and completion of the tasks since the warm-up, read page by page.
async fn times(client: &Client, warm_up: &[Sample], most: usize) -> anyhow::Result<HashMap<TaskId, Times>> {
    let first = warm_up.first().context("no task was sent")?;
    let since = task(client, &first.id.to_string()).await?.created_at;
    let records = noops_since(client, since, (warm_up.len() + most) as u64).await?;
    // the records include those of the warm-up, which the lookup by id skips
    let times = records
        .into_iter()
        .map(|task| (task.task_id, (task.started_at, task.completed_at)));
    Ok(times.collect())
}

type Times = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

fn since(sample: &Sample, at: Option<DateTime<Utc>>) -> anyhow::Result<Duration> {
    let at = at.with_context(|| format!("task {} has not finished", sample.id))?;
    let waited = at - sample.sent_at;
    ensure!(
        waited >= -CLAIM_BEGAN_BEFORE,
        "a task started before it was submitted; run this on the machine of Postgres, so that both use one clock"
    );
    // a slightly negative delay, see `CLAIM_BEGAN_BEFORE`, counts as zero
    Ok(waited.to_std().unwrap_or_default())
}

/// A pool of connections and the request that they send.
struct Sender {
    idle: Mutex<VecDeque<Connection>>,
    free: tokio::sync::Semaphore,
    request: Vec<u8>,
}

impl Sender {
    async fn open(client: &Client, noop: &Noop) -> anyhow::Result<Self> {
        let url = client.base();
        ensure!(
            url.scheme() == "http",
            "`tasker bench` supports only http URLs, not {}",
            url.scheme()
        );
        let connections = try_join_all((0..CONNECTIONS).map(|_| Connection::open(url))).await?;
        Ok(Self {
            idle: Mutex::new(connections.into()),
            free: tokio::sync::Semaphore::new(CONNECTIONS as usize),
            request: http::post(client, "/tasks/submit", noop.body()),
        })
    }

    /// Sends `count` submits, one every `interval`.
    async fn send(&self, count: u32, interval: Duration) -> anyhow::Result<Vec<Sample>> {
        let start = Instant::now();
        try_join_all((0..count).map(|index| self.send_at(start + interval * index))).await
    }

    async fn send_at(&self, due: Instant) -> anyhow::Result<Sample> {
        sleep_until(due).await;
        #[expect(
            clippy::disallowed_methods,
            reason = "a measurement; the help says that both clocks must be one"
        )]
        let sent_at = DateTime::<Utc>::from(SystemTime::now());
        // after the time was taken, so that waiting for a connection counts as latency
        let _permit = self.free.acquire().await?;
        let mut connection = self
            .idle
            .lock()
            .await
            .pop_front()
            .context("a connection was lost")?;
        let head = connection.exchange(&self.request).await?;
        ensure!(head.status == 202, "a submit returned status {}", head.status);
        let submitted: Submitted = serde_json::from_slice(connection.body(head))?;
        self.idle.lock().await.push_back(connection);
        Ok(Sample {
            sent_at,
            id: submitted.task_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_began_earlier_is_no_delay_and_another_machines_clock_is_an_error() {
        let sample = Sample {
            sent_at: DateTime::UNIX_EPOCH,
            id: TaskId::MIN,
        };
        let after = |milliseconds| {
            since(
                &sample,
                Some(sample.sent_at + TimeDelta::milliseconds(milliseconds)),
            )
        };
        assert_eq!(after(7).ok(), Some(Duration::from_millis(7)));
        assert_eq!(after(-7).ok(), Some(Duration::ZERO));
        assert!(after(-1_000).is_err());
        assert!(since(&sample, None).is_err(), "it has not ended");
    }
}
