//! Measures submits and a worker at the same time, from the first `created_at` to the last `completed_at`.

use anyhow::Context as _;

use crate::arguments::Scenario;
use crate::driver;
use crate::environment::Environment;
use crate::figures::{Figure, RATE};
use crate::rows::{self, Done};
use crate::scenarios::{POOL_SIZE, memory_figures};
use crate::system::System;

pub(super) const CONNECTIONS: u32 = 64;
/// No limit in practice: the number of tasks ends the load.
const SECONDS_MAX: u64 = 600;

pub(super) async fn e2e(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let scenario = Scenario::E2e;
    let mut system = System::start(env).await?;
    system.add_workers(1, POOL_SIZE).await?;
    let done = load(env, &mut system).await?;
    let mut figures = vec![Figure::new(scenario, RATE, done.end_to_end_rate()?, "tasks/s")];
    figures.extend(memory_figures(scenario, system.peaks()?));
    system.stop().await?;
    Ok(figures)
}

/// Submits half a backlog as single tasks while the workers run them.
pub(super) async fn load(env: &Environment, system: &mut System<'_>) -> anyhow::Result<Done> {
    let tasks = env.arguments.tasks.div_ceil(2);
    let since = rows::now(&system.sandbox.pool).await?;
    let measured = driver::submit(env, &system.server.url, &[CONNECTIONS], SECONDS_MAX, tasks).await?;
    let accepted = measured
        .first()
        .context("tasker bench returned no results")?
        .tasks;
    let until = rows::now(&system.sandbox.pool).await?;
    system.until_idle().await?;
    Done::between(&system.sandbox.pool, (since, until), accepted).await
}
