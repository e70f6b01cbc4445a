//! The state of the measured system: queue, live workers, records of finished tasks.

use std::time::Duration;

use anyhow::{bail, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use tasker_core::task::QueueName;
use tasker_wire::{BatchSubmitted, QueueInfo, Queues, Submitted, Task, TaskPage, Worker, Workers};
use tokio::time::{Instant, sleep};

use crate::output::progress;
use tasker_client::Client;

/// Interval between polls of `/queues`: each poll counts rows in Postgres, so it must stay rare.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time for workers to finish the backlog of the largest load.
const SETTLE_TIMEOUT: Duration = Duration::from_mins(5);
/// Maximum page size of `GET /tasks`.
const PAGE_TASKS: &str = "1000";
/// The built-in task type with an empty handler.
pub(crate) const NOOP: &str = "noop";
/// The queue of the load, whose tasks have no priority.
pub(crate) const QUEUE: &str = "default";

/// The task that every load submits.
#[derive(Debug)]
pub(crate) struct Noop {
    body: String,
}

impl Noop {
    /// Creates a `noop` with `parameter_bytes` of JSON parameters, without parameters below 8 bytes.
    pub(crate) fn new(parameter_bytes: u32) -> Self {
        const EMPTY: &str = r#"{"x":""}"#;
        let filler = (parameter_bytes as usize).checked_sub(EMPTY.len());
        let body = filler.map_or_else(
            || format!(r#"{{"task_name":"{NOOP}"}}"#),
            |bytes| {
                format!(
                    r#"{{"task_name":"{NOOP}","parameters":{{"x":"{}"}}}}"#,
                    ".".repeat(bytes)
                )
            },
        );
        Self { body }
    }

    /// Returns the body of a single submit.
    pub(crate) fn body(&self) -> &str {
        &self.body
    }

    /// Returns the body of a batch of `size` tasks.
    pub(crate) fn batch_body(&self, size: u64) -> String {
        let tasks: Vec<_> = (0..size).map(|_| self.body()).collect();
        format!(r#"{{"tasks":[{}]}}"#, tasks.join(","))
    }
}

/// Submits `count` copies of `task` as one batch.
pub(crate) async fn submit_batch(
    client: &Client,
    task: &serde_json::Value,
    count: u64,
) -> anyhow::Result<Vec<Submitted>> {
    let tasks: Vec<_> = (0..count).map(|_| task).collect();
    let body = serde_json::json!({ "tasks": tasks });
    let answer = client.post(&["tasks", "submit", "batch"], &body).await?;
    Ok(client.read::<BatchSubmitted>(&answer)?.tasks)
}

/// Returns the state of the load's queue.
pub(crate) async fn queue(client: &Client) -> anyhow::Result<QueueInfo> {
    let wanted = QueueName::default_class();
    let queues: Queues = client.read(&client.get(&["queues"], &[]).await?)?;
    let queue = queues.queues.into_iter().find(|queue| queue.name == wanted);
    queue.ok_or_else(|| anyhow::anyhow!("the server has no queue `{QUEUE}`"))
}

/// Fails if no live worker serves the load's queue.
pub(crate) async fn workers(client: &Client) -> anyhow::Result<()> {
    ensure!(
        !live_workers(client).await?.is_empty(),
        "no live worker serves the queue `{QUEUE}`; start one first"
    );
    Ok(())
}

/// Returns the live workers that serve the load's queue.
pub(crate) async fn live_workers(client: &Client) -> anyhow::Result<Vec<Worker>> {
    let workers: Workers = client.read(&client.get(&["workers"], &[]).await?)?;
    let serves = |worker: &Worker| {
        worker
            .queues
            .iter()
            // a worker reports its reserved slots with the queue, as in `default:2`
            .any(|queue| queue.split(':').next() == Some(QUEUE))
    };
    let live = workers
        .workers
        .into_iter()
        .filter(|w| w.status == "alive" && serves(w));
    Ok(live.collect())
}

/// Waits up to `most` until the load's queue has no pending or running tasks.
pub(crate) async fn idle(client: &Client, most: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + most;
    loop {
        let queue = queue(client).await?;
        if queue.pending + queue.running == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            let (pending, running) = (queue.pending, queue.running);
            bail!(
                "after {} s still {pending} pending, {running} running",
                most.as_secs()
            );
        }
        progress(&format!("  {} pending, {} running", queue.pending, queue.running));
        sleep(POLL_INTERVAL).await;
    }
}

/// Waits until the workers, if there are any, have drained the load's queue.
pub(crate) async fn settle(client: &Client) -> anyhow::Result<()> {
    if queue(client).await?.workers > 0 {
        idle(client, SETTLE_TIMEOUT).await
    } else {
        Ok(())
    }
}

/// Returns the record of a task.
pub(crate) async fn task(client: &Client, id: &str) -> anyhow::Result<Task> {
    Ok(client.read(&client.get(&["tasks", id], &[]).await?)?)
}

/// Returns the `noop`s created after `since`, newest first, at most about `most` of them.
pub(crate) async fn noops_since(
    client: &Client,
    since: DateTime<Utc>,
    most: u64,
) -> anyhow::Result<Vec<Task>> {
    let after = since.to_rfc3339_opts(SecondsFormat::Micros, true);
    let mut tasks: Vec<Task> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![
            ("task_name", NOOP),
            ("created_after", after.as_str()),
            ("limit", PAGE_TASKS),
        ];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page: TaskPage = client.read(&client.get(&["tasks"], &query).await?)?;
        // `created_after` includes the time itself, at which a task before the load was created
        tasks.extend(page.tasks.into_iter().filter(|task| task.created_at > since));
        cursor = page.next_cursor;
        if cursor.is_none() || tasks.len() as u64 >= most {
            return Ok(tasks);
        }
    }
}

/// Returns the time from the earliest of `starts` to the latest of `ends`; `None` if either is empty.
pub(crate) fn span(
    starts: impl Iterator<Item = DateTime<Utc>>,
    ends: impl Iterator<Item = DateTime<Utc>>,
) -> Option<Duration> {
    (ends.max()? - starts.min()?).max(TimeDelta::zero()).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_goes_from_the_earliest_start_to_the_latest_end() {
        let times = |millis: &[i64]| {
            let times: Option<Vec<_>> = millis
                .iter()
                .map(|ms| DateTime::from_timestamp_millis(*ms))
                .collect();
            times.expect("in range").into_iter()
        };
        let found = span(times(&[30, 10, 20]), times(&[40, 90]));
        assert_eq!(found, Some(Duration::from_millis(80)));
        assert_eq!(span(times(&[1]), times(&[])), None);
    }

    #[test]
    fn a_batch_holds_as_many_tasks_as_asked() {
        let body: serde_json::Value = serde_json::from_str(&Noop::new(0).batch_body(3)).expect("JSON");
        assert_eq!(body["tasks"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn the_parameters_are_as_long_as_asked() {
        for (bytes, long) in [(0, None), (7, None), (8, Some(8)), (100, Some(100))] {
            let task: serde_json::Value = serde_json::from_str(Noop::new(bytes).body()).expect("JSON");
            let found = task.get("parameters").map(|found| found.to_string().len());
            assert_eq!(found, long, "{bytes}");
        }
    }
}
