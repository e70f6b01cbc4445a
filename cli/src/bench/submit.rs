//! Measures single and batch submits per second.
//!
//! Workers that ran the tasks at the same time would compete for CPU and Postgres, and the result
//! would mix two measurements. So their slots are held until the load has ended; the submitted tasks
//! run before the next measurement.

use std::time::Duration;

use anyhow::ensure;

use super::hold::while_held;
use super::http;
use super::load::{self, Bounds, Outcome};
use super::stats::Line;
use super::system::{Noop, settle};
use crate::output::progress;
use tasker_client::Client;

/// The treatment of the workers' slots during a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slots {
    /// Sleeping tasks occupy the slots.
    Held,
    /// The slots stay free: there are no workers, or they are meant to run.
    LeftAlone,
}

/// Measures single submits within `bounds`; each connection sends the next after a response.
pub(crate) async fn submit(
    client: &Client,
    noop: &Noop,
    bounds: Bounds,
    slots: Slots,
) -> anyhow::Result<Line> {
    let connections = bounds.connections;
    let request = http::post(client, "/tasks/submit", noop.body());
    let send = async || {
        let seconds = bounds.duration.as_secs();
        progress(&format!("submit: {connections} connections, up to {seconds} s"));
        load::run(client.base(), &request, bounds).await
    };
    let outcome = apart(client, slots, bounds.duration, send).await?;
    line(format!("submit, {connections} connections"), outcome, 1)
}

/// Measures batches of `size` over one connection, `tasks` in total.
pub(crate) async fn batch(
    client: &Client,
    noop: &Noop,
    size: u64,
    tasks: u64,
    (duration, slots): (Duration, Slots),
) -> anyhow::Result<Line> {
    let send = async || {
        progress(&format!("batch: {tasks} tasks in batches of {size}"));
        send_batches(client, noop, size, tasks, duration).await
    };
    let outcome = apart(client, slots, duration, send).await?;
    line(format!("batches of {size}"), outcome, size)
}

/// Runs `load`, which takes at most `most`, without running workers unless `slots` leaves them alone.
async fn apart<T>(
    client: &Client,
    slots: Slots,
    most: Duration,
    load: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if slots == Slots::LeftAlone {
        return load().await;
    }
    // tasks of an earlier measurement would compete for the machine
    settle(client).await?;
    let done = while_held(client, most, async |_| load().await).await?;
    settle(client).await?;
    Ok(done)
}

/// Sends at least `tasks` tasks in batches of `size`, within `duration`.
pub(super) async fn send_batches(
    client: &Client,
    noop: &Noop,
    size: u64,
    tasks: u64,
    duration: Duration,
) -> anyhow::Result<Outcome> {
    let request = http::post(client, "/tasks/submit/batch", &noop.batch_body(size));
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
    let line = Line::rate(name, tasks, outcome.elapsed).with_refused(outcome.refused);
    Ok(line.with_answers(outcome.answers))
}
