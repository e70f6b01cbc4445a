//! Measures the time from submit to start at a constant rate.
//!
//! A row has the time of the claim, just before its handler starts, and of the completion, just after it
//! ends. The start of the handler lies between the two, so both are reported.

use anyhow::{Context as _, ensure};

use crate::arguments::Scenario;
use crate::driver::{self, Measured};
use crate::environment::Environment;
use crate::figures::Figure;
use crate::scenarios::POOL_SIZE;
use crate::system::System;

/// Submits per second at which the system is almost idle.
pub(super) const IDLE_RATE: u32 = 50;
const SECONDS: u32 = 10;
/// Maximum rate of `tasker bench latency`.
const RATE_MAX: f64 = 100_000.0;

/// Measures latencies at `rate` submits per second.
pub(super) async fn latency(env: &Environment, scenario: Scenario, rate: u32) -> anyhow::Result<Vec<Figure>> {
    let mut system = System::start(env).await?;
    system.add_workers(1, POOL_SIZE).await?;
    let arguments = [
        "latency".to_owned(),
        format!("--rate={rate}"),
        format!("--seconds={SECONDS}"),
    ];
    let measured = driver::bench(env, &system.server.url, &arguments).await?;
    system.stop().await?;
    ensure!(!measured.is_empty(), "tasker bench returned no results");
    let figure = |measured: &Measured| Figure::new(scenario, measured.name.clone(), measured.value, "ms");
    let mut figures: Vec<_> = measured
        .iter()
        .filter(|measured| !measured.name.ends_with("p95"))
        .map(figure)
        .collect();
    figures.push(Figure::new(scenario, "submits", f64::from(rate), "1/s"));
    Ok(figures)
}

/// Returns half of `rate` as a valid `--rate`; fails if e2e was not measured.
pub(super) fn half(rate: Option<f64>) -> anyhow::Result<u32> {
    let half = rate.context("e2e was not measured")? / 2.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is within bounds"
    )]
    Ok(half.clamp(1.0, RATE_MAX) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_rate_is_within_what_can_be_sent() {
        assert_eq!(half(Some(20_001.0)).ok(), Some(10_000));
        assert_eq!(half(Some(0.5)).ok(), Some(1));
        assert_eq!(half(Some(1e9)).ok(), Some(100_000));
        assert!(half(None).is_err());
    }
}
