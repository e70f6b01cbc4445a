//! Measures the rate at which workers drain a backlog.
//!
//! The backlog is submitted while no worker runs, so that it is complete before the first task is claimed.

use crate::arguments::Scenario;
use crate::driver;
use crate::environment::Environment;
use crate::figures::{Figure, RATE};
use crate::rows::{self, Done};
use crate::scenarios::memory_figures;
use crate::system::System;

/// Drains `tasks` with `workers` workers of `pool_size` slots.
pub(super) async fn drain(
    env: &Environment,
    scenario: Scenario,
    (workers, pool_size): (usize, u32),
    tasks: u64,
) -> anyhow::Result<Vec<Figure>> {
    let mut system = System::start(env).await?;
    let since = rows::now(&system.sandbox.pool).await?;
    let accepted = driver::batch(env, &system.server.url, tasks).await?.tasks;
    let until = rows::now(&system.sandbox.pool).await?;
    system.add_workers(workers, pool_size).await?;
    system.until_idle().await?;
    let done = Done::between(&system.sandbox.pool, (since, until), accepted).await?;
    let mut figures = vec![Figure::new(scenario, RATE, done.drain_rate()?, "tasks/s")];
    figures.extend(memory_figures(scenario, system.peaks()?));
    system.stop().await?;
    Ok(figures)
}
