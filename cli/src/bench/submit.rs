//! Submits per second, one by one and in batches.
//!
//! Workers that ran the tasks meanwhile would take their share of the machine and of Postgres, and
//! two things would be measured as one. So their slots are held until the load has ended; what it
//! left is worked off before the next line.

use std::time::Duration;

use anyhow::ensure;

use super::hold::{Held, while_held};
use super::http;
use super::load::{self, Bounds, Outcome};
use super::stats::Line;
use super::system::{noop_batch_body, noop_body, settle};
use crate::client::Client;
use crate::output::progress;

/// Single submits over `connections`, each sending its next when the last was answered.
pub(crate) async fn submit(
    client: &Client,
    connections: u32,
    requests: u64,
    duration: Duration,
) -> anyhow::Result<Line> {
    settle(client).await?;
    progress(&format!(
        "submit: {connections} connections, up to {} s",
        duration.as_secs()
    ));
    let request = http::post(client.base(), "/tasks/submit", &noop_body());
    let bounds = Bounds {
        connections,
        requests,
        duration,
    };
    let send = async |_: &Held| load::run(client.base(), &request, bounds).await;
    let outcome = while_held(client, duration, send).await?;
    settle(client).await?;
    line(format!("submit, {connections} connections"), outcome, 1)
}

/// Batches of `size` over one connection, `tasks` in all.
pub(crate) async fn batch(
    client: &Client,
    size: u64,
    tasks: u64,
    duration: Duration,
) -> anyhow::Result<Line> {
    settle(client).await?;
    progress(&format!("batch: {tasks} tasks in batches of {size}"));
    let send = async |_: &Held| send_batches(client, size, tasks, duration).await;
    let outcome = while_held(client, duration, send).await?;
    settle(client).await?;
    line(format!("batches of {size}"), outcome, size)
}

/// Sends at least `tasks` tasks in batches of `size`, within `duration`.
pub(super) async fn send_batches(
    client: &Client,
    size: u64,
    tasks: u64,
    duration: Duration,
) -> anyhow::Result<Outcome> {
    let request = http::post(client.base(), "/tasks/submit/batch", &noop_batch_body(size));
    let bounds = Bounds {
        connections: 1,
        requests: tasks.div_ceil(size),
        duration,
    };
    load::run(client.base(), &request, bounds).await
}

fn line(name: String, outcome: Outcome, tasks_each: u64) -> anyhow::Result<Line> {
    ensure!(
        outcome.accepted > 0,
        "{name}: none of {} requests was accepted",
        outcome.refused
    );
    let tasks = outcome.accepted * tasks_each;
    Ok(Line::rate(name, tasks, outcome.elapsed).with_refused(outcome.refused))
}
