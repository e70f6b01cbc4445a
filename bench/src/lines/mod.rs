//! One file a line: how it is measured.

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

use crate::arguments::Choice;
use crate::environment::Environment;
use crate::figures::{self, Figure, RATE};
use crate::stats::count;
use crate::system::Peaks;
use crate::{peer, sketch};

/// Slots of a worker, where a line does not say otherwise.
pub(crate) const POOL_SIZE: u32 = 256;
/// Slots of a worker that nobody configured.
pub(crate) const POOL_SIZE_SMALL: u32 = 10;
const MEBIBYTE: f64 = 1_048_576.0;

/// Measures `line` once. `round` holds what this round has measured before.
pub(crate) async fn measure(
    line: Choice,
    env: &Environment,
    round: &[Figure],
) -> anyhow::Result<Vec<Figure>> {
    let tasks = env.arguments.tasks;
    match line {
        // it stands for others, which are measured instead
        Choice::All => Ok(Vec::new()),
        Choice::Drain => drain::drain(env, line, (1, POOL_SIZE), tasks).await,
        Choice::Drain10 => drain::drain(env, line, (1, POOL_SIZE_SMALL), tasks.div_ceil(2)).await,
        Choice::Drain2 => drain::drain(env, line, (2, POOL_SIZE), tasks).await,
        Choice::Drain4 => drain::drain(env, line, (4, POOL_SIZE), tasks).await,
        Choice::Submit => submit::submit(env).await,
        Choice::Batch => batch::batch(env).await,
        Choice::E2e => e2e::e2e(env).await,
        Choice::Latency => latency::latency(env, line, latency::IDLE_RATE).await,
        Choice::LatencyHalf => {
            let saturated = figures::value(round, Choice::E2e, RATE);
            latency::latency(env, line, latency::half(saturated)?).await
        }
        Choice::Memory => memory::memory(env).await,
        Choice::Idle => idle::idle(env).await,
        Choice::Start => start::start(env).await,
        Choice::Sketch => sketch::sketch(env).await,
        Choice::DrainDeep => deep::drain_deep(env).await,
        Choice::Churn => churn::churn(env).await,
        Choice::Rq => peer::rq(env).await,
    }
}

/// The most memory as figures.
fn memory_figures(line: Choice, peaks: Peaks) -> Vec<Figure> {
    let mut figures = vec![mebibytes(line, "server, peak memory", peaks.server)];
    if peaks.worker > 0 {
        figures.push(mebibytes(line, "worker, peak memory", peaks.worker));
    }
    figures
}

fn mebibytes(line: Choice, name: &str, bytes: u64) -> Figure {
    Figure::new(line, name, count(bytes) / MEBIBYTE, "MiB")
}

/// Says on stderr what goes on.
pub(crate) fn progress(text: &str) {
    use std::io::Write as _;
    // a courtesy: a closed stderr does not end the work
    let _ = writeln!(std::io::stderr(), "{text}");
}
