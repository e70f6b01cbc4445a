//! The most memory that a server and a worker had, after both kinds of load.

use crate::arguments::Choice;
use crate::driver;
use crate::environment::Environment;
use crate::figures::Figure;
use crate::lines::{POOL_SIZE, e2e, memory_figures};
use crate::rows::{self, Done};
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
    let figures = memory_figures(Choice::Memory, system.peaks()?);
    system.stop().await?;
    Ok(figures)
}
