//! From the start of a process until it says that it is ready: a server that makes the schema first, then a worker.

use crate::arguments::Choice;
use crate::environment::Environment;
use crate::figures::Figure;
use crate::lines::POOL_SIZE;
use crate::system::System;

pub(super) async fn start(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let line = Choice::Start;
    let mut system = System::bare(env).await?;
    system.add_workers(1, POOL_SIZE).await?;
    let seconds = |name, service: &crate::system::Service| {
        Figure::new(line, name, service.started_in.as_secs_f64(), "s")
    };
    let mut figures = vec![seconds("server, on an empty database", &system.server)];
    figures.extend(system.workers.iter().map(|worker| seconds("worker", worker)));
    system.stop().await?;
    Ok(figures)
}
