//! Measures the time from process start to ready: of a server that migrates an empty database, then of a
//! worker.

use crate::arguments::Scenario;
use crate::environment::Environment;
use crate::figures::Figure;
use crate::scenarios::POOL_SIZE;
use crate::system::System;

pub(super) async fn start(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let scenario = Scenario::Start;
    let mut system = System::bare(env).await?;
    system.add_workers(1, POOL_SIZE).await?;
    let seconds = |name, service: &crate::system::Service| {
        Figure::new(scenario, name, service.started_in.as_secs_f64(), "s")
    };
    let mut figures = vec![seconds("server, on an empty database", &system.server)];
    figures.extend(system.workers.iter().map(|worker| seconds("worker", worker)));
    system.stop().await?;
    Ok(figures)
}
