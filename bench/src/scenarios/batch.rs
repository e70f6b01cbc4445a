//! Measures tasks per second in batches over one connection, without a worker.

use anyhow::ensure;

use crate::arguments::Scenario;
use crate::driver;
use crate::environment::Environment;
use crate::figures::{Figure, RATE};
use crate::rows;
use crate::scenarios::memory_figures;
use crate::system::System;

pub(super) async fn batch(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let scenario = Scenario::Batch;
    let system = System::start(env).await?;
    let since = rows::now(&system.sandbox.pool).await?;
    let measured = driver::batch(env, &system.server.url, env.arguments.tasks).await?;
    let (accepted, found) = (measured.tasks, rows::all(&system.sandbox.pool, since).await?);
    ensure!(
        found == accepted,
        "{accepted} tasks were accepted, {found} found in Postgres"
    );
    let mut figures = vec![Figure::new(scenario, RATE, measured.value, "tasks/s")];
    figures.extend(memory_figures(scenario, system.peaks()?));
    system.stop().await?;
    Ok(figures)
}
