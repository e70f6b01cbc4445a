//! Measures single submits per second, without a worker.

use anyhow::ensure;

use crate::arguments::Scenario;
use crate::driver;
use crate::environment::Environment;
use crate::figures::{Figure, submit_rate};
use crate::rows;
use crate::scenarios::memory_figures;
use crate::system::System;

const CONNECTIONS: [u32; 3] = [256, 32, 1];
const SECONDS: u64 = 5;
/// No limit in practice: the time ends the load.
const TASKS_MAX: u64 = 10_000_000;

pub(super) async fn submit(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let scenario = Scenario::Submit;
    let system = System::start(env).await?;
    let since = rows::now(&system.sandbox.pool).await?;
    let measured = driver::submit(env, &system.server.url, &CONNECTIONS, SECONDS, TASKS_MAX).await?;
    let accepted: u64 = measured.iter().map(|measured| measured.tasks).sum();
    let found = rows::all(&system.sandbox.pool, since).await?;
    ensure!(
        found == accepted,
        "{accepted} tasks were accepted, {found} found in Postgres"
    );
    let mut figures = Vec::new();
    for (connections, measured) in CONNECTIONS.into_iter().zip(&measured) {
        let name = submit_rate(connections);
        let answers = [("p50", measured.p50_ms), ("p99", measured.p99_ms)];
        let answers = answers
            .into_iter()
            .filter_map(|(percent, ms)| Some(Figure::new(scenario, format!("{name}, {percent}"), ms?, "ms")));
        let answers: Vec<_> = answers.collect();
        figures.push(Figure::new(scenario, name, measured.value, "tasks/s"));
        figures.extend(answers);
    }
    figures.extend(memory_figures(scenario, system.peaks()?));
    system.stop().await?;
    Ok(figures)
}
