//! How fast a backlog is worked off.
//!
//! The backlog is submitted while no worker runs, so that it stands whole before the first of it is taken.

use crate::arguments::Choice;
use crate::driver;
use crate::environment::Environment;
use crate::figures::{Figure, RATE};
use crate::lines::memory_figures;
use crate::rows::{self, Done};
use crate::system::System;

/// Drains `tasks` with so many workers of so many slots.
pub(super) async fn drain(
    env: &Environment,
    line: Choice,
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
    let mut figures = vec![Figure::new(line, RATE, done.drain_rate()?, "tasks/s")];
    figures.extend(memory_figures(line, system.peaks()?));
    system.stop().await?;
    Ok(figures)
}
