//! The measurements of Tasker, one file for each scenario.

mod batch;
mod churn;
mod deep;
mod drain;
mod e2e;
mod idle;
mod latency;
mod memory;
mod start;
mod submit;
mod workflows;

use crate::arguments::Scenario;
use crate::environment::Environment;
use crate::figures::{self, Figure, RATE};
use crate::stats::count;
use crate::system::Peaks;
use crate::{baseline, comparison};

/// Default number of slots of a worker in a scenario.
pub(crate) const POOL_SIZE: u32 = 256;
/// Number of slots of a worker with the default configuration.
pub(crate) const POOL_SIZE_SMALL: u32 = 10;
const MEBIBYTE: f64 = 1_048_576.0;

/// Measures `scenario` once. `round` contains the figures that this round has measured already.
pub(crate) async fn measure(
    scenario: Scenario,
    env: &Environment,
    round: &[Figure],
) -> anyhow::Result<Vec<Figure>> {
    let tasks = env.arguments.tasks;
    match scenario {
        // a plan never contains it: it is expanded to the others
        Scenario::All => Ok(Vec::new()),
        Scenario::Drain => drain::drain(env, scenario, (1, POOL_SIZE), tasks).await,
        Scenario::Drain10 => drain::drain(env, scenario, (1, POOL_SIZE_SMALL), tasks.div_ceil(2)).await,
        Scenario::Drain2 => drain::drain(env, scenario, (2, POOL_SIZE), tasks).await,
        Scenario::Drain4 => drain::drain(env, scenario, (4, POOL_SIZE), tasks).await,
        Scenario::Submit => submit::submit(env).await,
        Scenario::Batch => batch::batch(env).await,
        Scenario::E2e => e2e::e2e(env).await,
        Scenario::Latency => latency::latency(env, scenario, latency::IDLE_RATE).await,
        Scenario::LatencyHalf => {
            let saturated = figures::value(round, Scenario::E2e, RATE);
            latency::latency(env, scenario, latency::half(saturated)?).await
        }
        Scenario::Workflows => workflows::workflows(env).await,
        Scenario::Memory => memory::memory(env).await,
        Scenario::Idle => idle::idle(env).await,
        Scenario::Start => start::start(env).await,
        Scenario::Baseline => baseline::baseline(env).await,
        Scenario::DrainDeep => deep::drain_deep(env).await,
        Scenario::Churn => churn::churn(env).await,
        Scenario::Rq => comparison::rq(env).await,
    }
}

/// Returns the peak memory of server and worker as figures.
fn memory_figures(scenario: Scenario, peaks: Peaks) -> Vec<Figure> {
    let mut figures = vec![mebibytes(scenario, "server, peak memory", peaks.server)];
    if peaks.worker > 0 {
        figures.push(mebibytes(scenario, "worker, peak memory", peaks.worker));
    }
    figures
}

fn mebibytes(scenario: Scenario, name: &str, bytes: u64) -> Figure {
    Figure::new(scenario, name, count(bytes) / MEBIBYTE, "MiB")
}
