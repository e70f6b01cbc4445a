//! Tasks per second in batches over one connection, with nobody who works.

use anyhow::ensure;

use crate::arguments::Choice;
use crate::driver;
use crate::environment::Environment;
use crate::figures::{Figure, RATE};
use crate::lines::memory_figures;
use crate::rows;
use crate::system::System;

pub(super) async fn batch(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let line = Choice::Batch;
    let system = System::start(env).await?;
    let since = rows::now(&system.sandbox.pool).await?;
    let measured = driver::batch(env, &system.server.url, env.arguments.tasks).await?;
    let (accepted, found) = (measured.tasks, rows::all(&system.sandbox.pool, since).await?);
    ensure!(
        found == accepted,
        "{accepted} tasks were accepted, {found} are there"
    );
    let mut figures = vec![Figure::new(line, RATE, measured.value, "tasks/s")];
    figures.extend(memory_figures(line, system.peaks()?));
    system.stop().await?;
    Ok(figures)
}
