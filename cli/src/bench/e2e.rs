//! Measures submits and workers at the same time, until every task has finished.

use anyhow::{Context as _, ensure};

use super::http;
use super::load::{self, Bounds};
use super::stats::Line;
use super::system::{NOOP, Noop, idle, noops_since, span, submit_batch, task, workers};
use crate::output::progress;
use tasker_client::Client;

/// Submits single tasks within `bounds` while workers run them, and returns their rate from the
/// first `created_at` to the last `completed_at`.
pub(crate) async fn e2e(client: &Client, noop: &Noop, bounds: Bounds) -> anyhow::Result<Line> {
    let Bounds {
        connections,
        requests: tasks,
        duration,
    } = bounds;
    workers(client).await?;
    idle(client, duration).await?;
    progress(&format!("e2e: {tasks} tasks over {connections} connections"));
    let since = now_of_the_server(client).await?;
    let request = http::post(client, "/tasks/submit", noop.body());
    let outcome = load::run(client.base(), &request, bounds).await?;
    idle(client, duration).await?;
    let records = noops_since(client, since, outcome.accepted).await?;
    let found = records.len() as u64;
    ensure!(
        found >= outcome.accepted,
        "{} accepted, {found} found",
        outcome.accepted
    );
    let elapsed = span(
        records.iter().map(|task| task.created_at),
        records.iter().filter_map(|task| task.completed_at),
    );
    let elapsed = elapsed.context("no task finished")?;
    let name = format!("end to end, {connections} connections");
    Ok(Line::rate(name, outcome.accepted, elapsed).with_refused(outcome.refused))
}

/// Submits one task and returns its `created_at`: a time on Postgres's clock before the load.
async fn now_of_the_server(client: &Client) -> anyhow::Result<chrono::DateTime<chrono::Utc>> {
    let submitted = submit_batch(client, &serde_json::json!({"task_name": NOOP}), 1).await?;
    let id = submitted
        .first()
        .context("the server accepted no task")?
        .task_id
        .to_string();
    let created_at = task(client, &id).await?.created_at;
    Ok(created_at)
}
