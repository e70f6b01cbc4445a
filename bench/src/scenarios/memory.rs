//! Measures the peak memory of a server and a worker after single submits and a backlog.

use crate::arguments::Scenario;
use crate::driver;
use crate::environment::Environment;
use crate::figures::Figure;
use crate::rows::{self, Done};
use crate::scenarios::{POOL_SIZE, e2e, memory_figures};
use crate::system::System;

pub(super) async fn memory(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let mut system = System::start(env).await?;
    system.add_workers(1, POOL_SIZE).await?;
    e2e::load(env, &mut system).await?;
    let since = rows::now(&system.sandbox.pool).await?;
    let accepted = driver::batch(env, &system.server.url, env.arguments.tasks)
        .await?
        .tasks;
    let until = rows::now(&system.sandbox.pool).await?;
    system.until_idle().await?;
    Done::between(&system.sandbox.pool, (since, until), accepted).await?;
    let figures = memory_figures(Scenario::Memory, system.peaks()?);
    system.stop().await?;
    Ok(figures)
}
